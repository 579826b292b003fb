// stdin as characters, however its bytes arrive.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "src/chat/terminal/interrupts.h"

namespace shori {

class ByteInput {
 public:
  enum class Event { kCharacter, kInterrupt, kEnd };

  // `on_terminal_change` is called while it waits.
  explicit ByteInput(Interrupts& interrupts, std::function<void()> on_terminal_change = nullptr)
      : interrupts_(interrupts), on_terminal_change_(std::move(on_terminal_change)) {}

  // The next character; bytes that belong to none are U+FFFD. kEnd also when a stop is requested.
  Event read(std::uint32_t& character);

 private:
  bool take_character(bool at_end, std::uint32_t& character);

  Interrupts& interrupts_;
  std::function<void()> on_terminal_change_;
  std::string bytes_;
  bool ended_ = false;
};

}  // namespace shori
