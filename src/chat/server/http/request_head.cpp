#include "src/chat/server/http/request_head.h"

#include <algorithm>
#include <array>

#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/chat/server/http/request_error.h"

namespace shori {
namespace {

struct Field {
  std::string_view name;
  std::string RequestHead::* value;
};
constexpr std::array<Field, 4> kFields{{{"host", &RequestHead::host},
                                        {"origin", &RequestHead::origin},
                                        {"authorization", &RequestHead::authorization},
                                        {"x-api-key", &RequestHead::api_key}}};
using Seen = std::array<bool, kFields.size()>;

[[noreturn]] void refuse(int status, std::string message) {
  throw RequestError{.status = status, .message = std::move(message)};
}

bool is_header_byte(char c) {
  return c == '\t' || c == '\r' || c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

std::string_view take_line(std::string_view& lines) {
  const std::size_t end = lines.find("\r\n");
  const std::string_view line = lines.substr(0, end);
  if (line.find_first_of("\r\n") != std::string_view::npos) refuse(400, "a line of the head does not end in CR LF");
  lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
  return line;
}

// Three words with one space between: cpp-httplib would find the path in other forms, too, and another one than was judged.
void read_request_line(std::string_view line, RequestHead& head) {
  const std::size_t first = line.find(' '), last = line.rfind(' ');
  head.version = line.substr(last == std::string_view::npos ? 0 : last + 1);
  const bool is_http = head.version == "HTTP/1.1" || head.version == "HTTP/1.0";
  if (!is_http || first == std::string_view::npos || first == 0 || last <= first + 1)
    refuse(400, "this is no HTTP/1.1 request");
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  if (head.target.find_first_of(" \t") != std::string::npos) refuse(400, "the path holds white space");
}

std::uint64_t length_of(std::string_view value) {
  const auto length = parse_number<std::uint64_t>(value);
  if (!length) refuse(400, "Content-Length is not a number");
  return *length;
}

void read_header_line(std::string_view line, RequestHead& head, Seen& seen) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 || is_space(line.front()) || is_space(line[colon - 1]))
    refuse(400, "a header line is malformed");
  const std::string name = lower_ascii(line.substr(0, colon));
  const std::string_view value = trim(line.substr(colon + 1));
  if (name == "transfer-encoding") refuse(411, "send the body with Content-Length, not in chunks");
  if (name == "content-encoding" && lower_ascii(value) != "identity") refuse(415, "send the body uncompressed");
  if (name == "content-length") {
    if (head.length) refuse(400, "Content-Length is given twice");
    head.length = length_of(value);
  }
  if (name == "expect" && lower_ascii(value) == "100-continue") head.expects_continue = true;
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    if (name != kFields[i].name) continue;
    if (seen[i]) refuse(400, concat(name, " is given twice"));
    seen[i] = true;
    head.*kFields[i].value = value;
  }
}

}  // namespace

RequestHead parse_request_head(std::string_view lines) {
  if (!std::all_of(lines.begin(), lines.end(), is_header_byte)) refuse(400, "the head holds control characters");
  RequestHead head;
  Seen seen{};
  read_request_line(take_line(lines), head);
  while (!lines.empty()) read_header_line(take_line(lines), head, seen);
  return head;
}

bool has_bare_line_feed(std::string_view lines) {
  for (std::size_t at = lines.find('\n'); at != std::string_view::npos; at = lines.find('\n', at + 1))
    if (at == 0 || lines[at - 1] != '\r') return true;
  return false;
}

}  // namespace shori
