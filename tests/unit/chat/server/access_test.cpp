#include "src/chat/server/http/access.h"

#include <gtest/gtest.h>

#include <string>

#include "shori/util/error.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

TEST(AccessTest, AnAddressIsAHostAndAPort) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } cases[] = {
      {"8080", "127.0.0.1", 8080},   {"0", "127.0.0.1", 0},       {"localhost:5001", "localhost", 5001},
      {"0.0.0.0:80", "0.0.0.0", 80}, {"[::1]:8080", "::1", 8080},
  };
  for (const auto& c : cases) {
    const ListenAddress address = parse_listen_address(c.text);
    EXPECT_EQ(address.host, c.host) << c.text;
    EXPECT_EQ(address.port, c.port) << c.text;
  }
  for (const char* text : {"", "x", "65536", "-1", "host:", ":80", "::1:80", "80 ", "http://localhost:80", "-0", "+80"})
    EXPECT_THROW(parse_listen_address(text), Error) << text;
}

TEST(AccessTest, AnIpv6AddressWithoutBracketsIsNamedWithThem) {
  const struct {
    const char* text;
    const char* proposal;
  } cases[] = {{"::1:8080", "`--serve [::1]:8080`"}, {"fe80::2:80", "`--serve [fe80::2]:80`"}};
  for (const auto& c : cases) {
    try {
      parse_listen_address(c.text);
      ADD_FAILURE() << c.text << " is accepted";
    } catch (const Error& error) {
      const auto& helps = error.diagnostics().front().helps;
      EXPECT_NE(helps.front().find(c.proposal), std::string::npos) << helps.front();
    }
  }
}

TEST(AccessTest, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"", "0.0.0.0", "::", "127.0.0.1.evil.example", "127.evil", "10.0.0.1", "localhost.example"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

int status_of(const AccessRules& rules, RequestHead head, const char* target = "/props") {
  head.target = target;
  const auto problem = find_access_problem(rules, head);
  return problem ? problem->status : 200;
}

TEST(AccessTest, OnLoopbackTheHostHasToBeThisMachine) {
  const AccessRules rules;
  for (const char* host : {"localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost", "localhost.:80"})
    EXPECT_EQ(status_of(rules, {.host = host}), 200) << host;
  for (const char* host :
       {"", "evil.example:8080", "127.0.0.1.evil.example", "[::2]:8080", "[::1", "::1", "[localhost]", "[::1]8080",
        "127.0.0.1:8080@evil", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:80:80", "localhost@evil", "[::1]:80@evil"})
    EXPECT_EQ(status_of(rules, {.host = host}), 403) << host;
  const AccessRules open{.is_loopback_only = false, .keys = {"secret"}};
  EXPECT_EQ(status_of(open, {.host = "box.lan:8080", .authorization = "Bearer secret"}), 200);
}

TEST(AccessTest, Http10NeedsNoHost) {
  EXPECT_EQ(status_of({}, {.version = "HTTP/1.0"}), 200);
  EXPECT_EQ(status_of({}, {.version = "HTTP/1.1"}), 403);
  EXPECT_EQ(status_of({}, {.version = "HTTP/1.0", .host = "evil.example"}), 403);
  EXPECT_EQ(status_of({}, {.version = "HTTP/1.0", .origin = "http://evil.example"}), 403);
}

TEST(AccessTest, WebPagesOfOtherOriginsAreRefused) {
  const AccessRules rules;
  EXPECT_EQ(status_of(rules, {.host = "localhost:8080", .origin = "http://localhost:8080"}), 200);
  for (const char* origin : {"http://evil.example", "null", "http://localhost:9090"})
    EXPECT_EQ(status_of(rules, {.host = "localhost:8080", .origin = origin}), 403) << origin;
}

TEST(AccessTest, OneOfTheKeysOpens) {
  const AccessRules rules{.is_loopback_only = true, .keys = {"first", "second"}};
  const auto with = [&](const char* authorization, const char* api_key = "") {
    return status_of(rules, {.host = "localhost", .authorization = authorization, .api_key = api_key});
  };
  for (const char* good : {"Bearer first", "Bearer second", "bearer second", "Bearer  first "})
    EXPECT_EQ(with(good), 200) << good;
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer firs", "Bearer first2", "first", "Basic first"})
    EXPECT_EQ(with(bad), 401) << bad;
  EXPECT_EQ(with("", "second"), 200);
  EXPECT_EQ(with("", "third"), 401);
  EXPECT_EQ(status_of(rules, {.host = "localhost"}, "/health"), 200);
  EXPECT_EQ(status_of(rules, {.host = "localhost"}, "/health?x"), 200);
  EXPECT_EQ(status_of(rules, {.host = "localhost", .length = 1}, "/health"), 401) << "a body that would be read";
  for (const char* target : {"/healthy", "/Health", "/health/", "//health", "/%68ealth", "?/health", "http://x/health"})
    EXPECT_EQ(status_of(rules, {.host = "localhost"}, target), 401) << target;
}

TEST(AccessTest, KeysAreReadAsEditorsSaveThem) {
  const TemporaryFolder folder;
  const std::vector<std::string> expected = {"abc", "def"};
  using namespace std::string_literals;
  for (const std::string& text : {"abc\ndef\n"s, "\xEF\xBB\xBF# mine\r\nabc\r\ndef"s,
                                  "\xFF\xFE"
                                  "a\0b\0c\0\r\0\n\0d\0e\0f\0"s}) {
    folder.write("keys", text);
    EXPECT_EQ(read_api_keys(folder.file("keys")), expected);
  }
  folder.write("keys", "secret\xFF\n");
  try {
    read_api_keys(folder.file("keys"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.diagnostics().front().code, "E0116");
    EXPECT_EQ(format_diagnostic(error.diagnostics().front()).find("secret"), std::string::npos);
  }
}

}  // namespace
}  // namespace shori
