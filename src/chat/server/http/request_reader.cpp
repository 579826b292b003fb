#include "src/chat/server/http/request_reader.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string_view>

#include "shori/util/text.h"

namespace shori {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

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

void send_continue(int socket) {
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  (void)::send(socket, kContinue.data(), kContinue.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Reads up to the end of the head and returns where it ends in `bytes`; nullopt: nothing came.
std::optional<std::size_t> read_head(TimedReader& reader, std::string& bytes, std::size_t limit) {
  for (;;) {
    const std::size_t end = bytes.find(kHeadEnd);
    if (end != std::string::npos) return end;
    // The end of such a head would never come.
    if (has_bare_line_feed(bytes)) refuse(400, "a line of the head ends in LF alone, not in CR LF");
    if (bytes.size() >= limit) refuse(431, concat("the head of the request is longer than ", limit, " bytes"));
    if (reader.read_some(bytes, limit - bytes.size())) continue;
    if (bytes.empty()) return std::nullopt;
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

RawRequest read_request(int socket, const ReadLimits& limits, const std::function<bool()>& stop,
                        const std::function<void(const RequestHead&)>& judge) {
  TimedReader reader(socket, stop);
  std::string bytes;
  reader.set_deadline(limits.head_time);
  const auto end = read_head(reader, bytes, limits.head_bytes);
  if (!end) return {.bytes = {}, .is_empty = true};
  const RequestHead head = parse_request_head(std::string_view(bytes).substr(0, *end));
  judge(head);
  const std::uint64_t length = head.length.value_or(0);
  if (length > limits.body_bytes) refuse(413, concat("the body is longer than ", limits.body_bytes, " bytes"));
  std::string body = bytes.substr(*end + kHeadEnd.size());
  if (head.expects_continue && body.size() < length) send_continue(socket);
  reader.set_deadline(limits.body_time);
  body = read_body(reader, std::move(body), length);
  return {.bytes = concat(head.method, " ", head.target, " ", head.version, "\r\nHost: ", head.host,
                          "\r\nContent-Length: ", length, "\r\n\r\n", body)};
}

}  // namespace shori
