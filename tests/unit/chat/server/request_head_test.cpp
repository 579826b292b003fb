#include "src/chat/server/http/request_head.h"

#include <gtest/gtest.h>

#include "src/chat/server/http/request_error.h"

namespace shori {
namespace {

int status_of(std::string_view lines) {
  try {
    parse_request_head(lines);
    return 200;
  } catch (const RequestError& error) {
    return error.status;
  }
}

TEST(RequestHeadTest, ReadsWhatIsJudged) {
  const RequestHead head = parse_request_head(
      "POST /completion?a=?b HTTP/1.1\r\nHOST:  localhost \r\nOrigin: http://x\r\nauthorization: Bearer k\r\n"
      "X-Api-Key:k2\r\nContent-Length: 12\r\nExpect: 100-Continue\r\nOther: y");
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.path(), "/completion");
  EXPECT_EQ(head.version, "HTTP/1.1");
  EXPECT_EQ(head.host, "localhost");
  EXPECT_EQ(head.origin, "http://x");
  EXPECT_EQ(head.authorization, "Bearer k");
  EXPECT_EQ(head.api_key, "k2");
  EXPECT_EQ(head.length, 12u);
  EXPECT_TRUE(head.expects_continue);
}

TEST(RequestHeadTest, TheRequestLineIsThreeWords) {
  EXPECT_EQ(status_of("GET /health HTTP/1.0"), 200);
  for (const char* line : {"", "HTTP/1.1", "GET HTTP/1.1", "GET  HTTP/1.1", " /health HTTP/1.1",
                           "GET  /health HTTP/1.1", "GET /health  HTTP/1.1", "GET /a b HTTP/1.1", "GET /a\tb HTTP/1.1",
                           "GET /health HTTP/2.0", "GET /health", "GET /health HTTP/1.1 "})
    EXPECT_EQ(status_of(line), 400) << line;
}

TEST(RequestHeadTest, AFieldIsGivenOnce) {
  for (const char* name : {"Host", "Origin", "Authorization", "X-Api-Key", "Content-Length"}) {
    const std::string line = std::string("\r\n") + name + ": 1";
    EXPECT_EQ(status_of("GET / HTTP/1.1" + line), 200) << name;
    EXPECT_EQ(status_of("GET / HTTP/1.1" + line + line), 400) << name;
  }
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost:\r\nHost: localhost"), 400) << "the first one is empty";
}

TEST(RequestHeadTest, LinesEndInCrLf) {
  EXPECT_FALSE(has_bare_line_feed("GET / HTTP/1.1\r\nHost: x\r"));
  for (const char* lines : {"\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: x\n"}) {
    EXPECT_TRUE(has_bare_line_feed(lines)) << lines;
    EXPECT_EQ(status_of(lines), 400) << lines;
  }
}

}  // namespace
}  // namespace shori
