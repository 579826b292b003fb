// Line and column of offsets that only grow: linear over a whole text.
#pragma once

#include <cstddef>
#include <string_view>

namespace shori {

class TextCursor {
 public:
  explicit TextCursor(std::string_view text) : text_(text) {}

  // `offset` must not be below the one before.
  void move_to(std::size_t offset) {
    for (; offset_ < offset; ++offset_) {
      const unsigned char c = static_cast<unsigned char>(text_[offset_]);
      if (c == '\n') {
        ++line_;
        column_ = 1;
        line_begin_ = offset_ + 1;
      } else if ((c & 0xC0) != 0x80) {
        ++column_;
      }
    }
  }

  std::size_t line() const { return line_; }
  std::size_t column() const { return column_; }
  // The line without its newline; empty if it is too long to be kept in a message.
  std::string_view line_text() const {
    constexpr std::size_t kMaxLine = 64u << 10;
    const std::size_t length = text_.substr(line_begin_, kMaxLine + 1).find('\n');
    if (length != std::string_view::npos) return text_.substr(line_begin_, length);
    return text_.size() - line_begin_ > kMaxLine ? std::string_view() : text_.substr(line_begin_);
  }

 private:
  std::string_view text_;
  std::size_t offset_ = 0, line_begin_ = 0, line_ = 1, column_ = 1;
};

}  // namespace shori
