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

std::size_t size_by_first(char first) {
  const unsigned char byte = static_cast<unsigned char>(first);
  return byte < 0xC2 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF5 ? 4 : 1;
}

}  // namespace

bool ByteInput::take_character(bool at_end, std::uint32_t& character) {
  if (bytes_.empty()) return false;
  const std::size_t size = size_by_first(bytes_.front());
  const std::string_view first = std::string_view(bytes_).substr(0, size);
  const bool is_valid = first.size() == size && !find_invalid_utf8(first);
  // A continuation byte that is missing shows that nothing more is to come.
  bool could_go_on = first.size() < size;
  for (const char c : first.substr(1)) could_go_on = could_go_on && (static_cast<unsigned char>(c) & 0xC0) == 0x80;
  if (!is_valid && could_go_on && !at_end) return false;
  character = is_valid ? code_point_at(first, 0).value : kReplacement;
  bytes_.erase(0, is_valid ? size : 1);
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
