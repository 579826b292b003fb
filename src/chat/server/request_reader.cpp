#include "src/chat/server/request_reader.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "shori/util/text.h"

namespace shori {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::string_view kHeadEnd = "\r\n\r\n";
// Enough for access checks and routes.
// Without Content-Type, by which cpp-httplib would take forms apart: every body is JSON, as llama.cpp reads it.
constexpr std::string_view kKept[] = {"host", "authorization", "x-api-key", "origin"};

[[noreturn]] void refuse(int status, std::string message) {
  throw RequestError{.status = status, .message = std::move(message)};
}

class TimedReader {
 public:
  TimedReader(int socket, const std::function<bool()>& stop) : socket_(socket), stop_(stop) {}

  void set_deadline(std::chrono::milliseconds time) { deadline_ = Clock::now() + time; }

  // Appends what has arrived, at most `most` bytes; false at the end of the stream. Waits until the deadline.
  bool read_some(std::string& into, std::size_t most) {
    wait();
    char chunk[16 << 10];
    const ssize_t count = ::recv(socket_, chunk, std::min(most, sizeof chunk), 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (count <= 0) return false;
    into.append(chunk, static_cast<std::size_t>(count));
    return true;
  }

 private:
  void wait() const {
    constexpr int kPollMs = 100;  // how soon a stop is seen
    for (;;) {
      if (stop_()) throw RequestError{.status = 503, .type = "unavailable_error", .message = "the server is stopping"};
      if (Clock::now() >= deadline_) refuse(408, "the request did not arrive in time");
      pollfd waiting{.fd = socket_, .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, kPollMs) > 0) return;
    }
  }

  int socket_;
  const std::function<bool()>& stop_;
  Clock::time_point deadline_;
};

struct Head {
  std::string kept;  // the lines that are passed on, each with its end
  std::optional<std::uint64_t> length;
  bool expects_continue = false;
};

std::uint64_t length_of(std::string_view value) {
  std::uint64_t length = 0;
  const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), length);
  if (problem != std::errc() || end != value.data() + value.size()) refuse(400, "Content-Length is not a number");
  return length;
}

void read_header_line(std::string_view line, Head& head) {
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
  if (std::find(std::begin(kKept), std::end(kKept), name) == std::end(kKept)) return;
  if (head.kept.find(concat(name, ": ")) != std::string::npos) refuse(400, concat(name, " is given twice"));
  head.kept += concat(name, ": ", value, "\r\n");
}

bool is_header_byte(char c) {
  return c == '\t' || c == '\r' || c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

Head parse_head(std::string_view lines) {
  if (!std::all_of(lines.begin(), lines.end(), is_header_byte)) refuse(400, "the head holds control characters");
  Head head;
  while (!lines.empty()) {
    const std::size_t end = lines.find("\r\n");
    const std::string_view line = lines.substr(0, end);
    if (line.find_first_of("\r\n") != std::string_view::npos) refuse(400, "a header line is malformed");
    read_header_line(line, head);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
  }
  return head;
}

void send_continue(int socket) {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  (void)::send(socket, kContinue.data(), kContinue.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Reads up to the end of the head and returns where it ends in `bytes`; 0: nothing came.
std::size_t read_head(TimedReader& reader, std::string& bytes, std::size_t limit) {
  for (;;) {
    const std::size_t end = bytes.find(kHeadEnd);
    if (end != std::string::npos) return end;
    if (bytes.size() >= limit) refuse(431, concat("the head of the request is longer than ", limit, " bytes"));
    if (reader.read_some(bytes, limit - bytes.size())) continue;
    if (bytes.empty()) return 0;
    refuse(400, "the connection ended inside the head of the request");
  }
}

std::string read_body(TimedReader& reader, std::string body, std::uint64_t length) {
  body.reserve(length);
  while (body.size() < length) {
    if (!reader.read_some(body, length - body.size())) refuse(400, "the connection ended inside the body");
  }
  body.resize(length);
  return body;
}

}  // namespace

RawRequest read_request(int socket, const ReadLimits& limits, const std::function<bool()>& stop) {
  TimedReader reader(socket, stop);
  std::string bytes;
  reader.set_deadline(limits.head_time);
  const std::size_t end = read_head(reader, bytes, limits.head_bytes);
  if (end == 0) return {.bytes = {}, .first_line = {}, .is_empty = true};
  const std::size_t line_end = bytes.find("\r\n");
  RawRequest request{.bytes = {}, .first_line = bytes.substr(0, line_end)};
  const std::size_t fields_begin = std::min(line_end + 2, end);
  const Head head = parse_head(std::string_view(bytes).substr(fields_begin, end - fields_begin));
  const std::uint64_t length = head.length.value_or(0);
  if (length > limits.body_bytes) refuse(413, concat("the body is longer than ", limits.body_bytes, " bytes"));
  std::string body = bytes.substr(end + kHeadEnd.size());
  if (head.expects_continue && body.size() < length) send_continue(socket);
  reader.set_deadline(limits.body_time);
  body = read_body(reader, std::move(body), length);
  request.bytes = concat(request.first_line, "\r\n", head.kept, "content-length: ", length, "\r\n\r\n", body);
  return request;
}

}  // namespace shori
