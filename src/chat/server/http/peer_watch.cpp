#include "src/chat/server/http/peer_watch.h"

#include <poll.h>

#include "shori/util/error.h"
#include "src/chat/server/http/socket_stream.h"

namespace shori {
namespace {

constexpr std::string_view kStatusLine = "HTTP/1.1 ";
constexpr std::string_view kComment = ":\n\n", kCommentInChunk = "3\r\n:\n\n\r\n";  // events without data

}  // namespace

bool PeerWatch::has_gone() {
  pollfd state{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  if (::poll(&state, 1, 0) <= 0) return false;
  if ((state.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return true;
  return Clock::now() >= next_ && !send_early();
}

bool PeerWatch::send_early() {
  next_ = Clock::now() + pause_;
  pause_ *= 2;
  std::string_view part = in_chunks_ ? kCommentInChunk : kComment;
  if (!has_begun_) {
    part = kStatusLine.substr(sent_, 1);
    sent_ += part.size();
  }
  return send_all(socket_, part.data(), part.size(), write_time_);
}

std::string_view PeerWatch::rest_of(std::string_view part) {
  if (has_begun_) return part;
  SHORI_CHECK(part.starts_with(kStatusLine), "every answer begins with the line of its status");
  has_begun_ = true;
  return part.substr(sent_);
}

}  // namespace shori
