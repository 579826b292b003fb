#include "src/chat/terminal/byte_input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "shori/util/signals.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr int kWaitMilliseconds = 200;  // until signals are looked at again
constexpr std::uint32_t kReplacement = 0xFFFD;

}  // namespace

bool ByteInput::take_character(bool at_end, std::uint32_t& character) {
  if (bytes_.empty()) return false;
  if (!at_end && is_begin_of_character(bytes_)) return false;
  const std::string_view longest = std::string_view(bytes_).substr(0, 4);  // bytes that a character can have
  const bool is_valid = find_invalid_utf8(longest).value_or(longest.size()) > 0;
  const CodePoint first = is_valid ? code_point_at(bytes_, 0) : CodePoint{kReplacement, 1};
  character = first.value;
  bytes_.erase(0, first.bytes);
  return true;
}

ByteInput::Event ByteInput::read(std::uint32_t& character) {
  while (true) {
    if (stop_requested()) return Event::kEnd;
    if (interrupts_.take_interrupt()) return Event::kInterrupt;
    if (interrupts_.take_terminal_change() && on_terminal_change_) on_terminal_change_();
    if (take_character(ended_, character)) return Event::kCharacter;
    if (ended_) return Event::kEnd;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, kWaitMilliseconds) <= 0) continue;
    char chunk[4096];
    const ssize_t size = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (size > 0) bytes_.append(chunk, static_cast<std::size_t>(size));
    if (size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN)) ended_ = true;
  }
}

}  // namespace shori
