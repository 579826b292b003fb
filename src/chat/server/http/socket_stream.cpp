#include "src/chat/server/http/socket_stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace shori {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 60'000));
}

bool wait_for(int socket, short events, Clock::time_point deadline) {
  pollfd waiting{.fd = socket, .events = events, .revents = 0};
  int ready;
  do ready = ::poll(&waiting, 1, milliseconds_until(deadline));
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

}  // namespace

bool send_all(int socket, const char* data, std::size_t size, std::chrono::milliseconds time) {
  const auto deadline = Clock::now() + time;
  while (size > 0) {
    const ssize_t sent = ::send(socket, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      data += sent;
      size -= static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(socket, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

ssize_t SocketStream::read(char* into, size_t size) {
  const std::size_t count = std::min(size, request_.size() - offset_);
  std::memcpy(into, request_.data() + offset_, count);
  offset_ += count;
  return static_cast<ssize_t>(count);
}

// cpp-httplib begins an answer with one write.
ssize_t SocketStream::write(const char* data, size_t size) {
  const std::string_view bytes = watch_.rest_of({data, size});
  if (has_failed_ || !send_all(socket_, bytes.data(), bytes.size(), write_time_)) {
    has_failed_ = true;
    return -1;
  }
  return static_cast<ssize_t>(size);
}

void close_gently(int socket, bool drain) {
  ::shutdown(socket, SHUT_WR);
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  std::size_t left = std::size_t{64} << 20;
  char waste[16 << 10];
  while (drain && left > 0 && Clock::now() < deadline && wait_for(socket, POLLIN, deadline)) {
    const ssize_t count = ::recv(socket, waste, sizeof waste, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) break;
    if (count > 0) left -= std::min(left, static_cast<std::size_t>(count));
  }
  ::close(socket);
}

}  // namespace shori
