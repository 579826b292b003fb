#include "src/chat/server/access.h"

#include <gtest/gtest.h>

#include <string>

#include "shori/util/error.h"

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
  for (const char* text : {"", "x", "65536", "-1", "host:", ":80", "::1:80", "80 ", "http://localhost:80"})
    EXPECT_THROW(parse_listen_address(text), Error) << text;
}

TEST(AccessTest, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"", "0.0.0.0", "::", "127.0.0.1.evil.example", "127.evil", "10.0.0.1", "localhost.example"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

int status_of(const AccessRules& rules, const Credentials& given, std::string_view path = "/props") {
  const auto problem = find_access_problem(rules, path, given);
  return problem ? problem->status : 200;
}

TEST(AccessTest, OnLoopbackTheHostHasToBeThisMachine) {
  const AccessRules rules;
  for (const char* host : {"localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost"})
    EXPECT_EQ(status_of(rules, {.host = host}), 200) << host;
  for (const char* host : {"", "evil.example:8080", "127.0.0.1.evil.example", "[::2]:8080", "[::1"})
    EXPECT_EQ(status_of(rules, {.host = host}), 403) << host;
  const AccessRules open{.is_loopback_only = false, .keys = {"secret"}};
  EXPECT_EQ(status_of(open, {.host = "box.lan:8080", .authorization = "Bearer secret"}), 200);
}

TEST(AccessTest, WebPagesOfOtherOriginsAreRefused) {
  const AccessRules rules;
  EXPECT_EQ(status_of(rules, {.host = "localhost:8080", .origin = "http://localhost:8080"}), 200);
  for (const char* origin : {"http://evil.example", "null", "http://localhost:9090"})
    EXPECT_EQ(status_of(rules, {.host = "localhost:8080", .origin = origin}), 403) << origin;
}

TEST(AccessTest, OneOfTheKeysOpens) {
  const AccessRules rules{.is_loopback_only = true, .keys = {"first", "second"}};
  const auto with = [&](std::string_view authorization, std::string_view api_key = "") {
    return status_of(rules, {.host = "localhost", .authorization = authorization, .api_key = api_key});
  };
  for (const char* good : {"Bearer first", "Bearer second", "bearer second", "Bearer  first "})
    EXPECT_EQ(with(good), 200) << good;
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer firs", "Bearer first2", "first", "Basic first"})
    EXPECT_EQ(with(bad), 401) << bad;
  EXPECT_EQ(with("", "second"), 200);
  EXPECT_EQ(with("", "third"), 401);
  EXPECT_EQ(status_of(rules, {.host = "localhost"}, "/health"), 200);
}

}  // namespace
}  // namespace shori
