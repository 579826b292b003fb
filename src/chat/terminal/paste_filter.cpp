#include "src/chat/terminal/paste_filter.h"

#include <string_view>

#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::u32string_view kBegin = U"\x1b[200~", kEnd = U"\x1b[201~";
constexpr std::uint32_t kEscape = 0x1B, kQuote = 0x16 /* Ctrl-V */, kReplacement = 0xFFFD;

}  // namespace

void PasteFilter::add(std::uint32_t character) {
  if (character == kEscape || !mark_.empty()) {
    if (character == kEscape) {
      for (const char32_t each : mark_) pass(each);
      mark_.clear();
    }
    mark_ += static_cast<char32_t>(character);
    if (mark_ == kBegin || mark_ == kEnd) {
      pasting_ = mark_ == kBegin;
      mark_.clear();
      new_lines_ = 0;
      after_return_ = false;
    } else if (!kBegin.starts_with(mark_) && !kEnd.starts_with(mark_)) {
      for (const char32_t each : mark_) pass(each);
      mark_.clear();
    }
    return;
  }
  pass(character);
}

std::uint32_t PasteFilter::take() {
  const std::uint32_t first = out_.front();
  out_.pop_front();
  return first;
}

void PasteFilter::pass(std::uint32_t character) {
  if (pasting_) return paste(character);
  out_.push_back(character);
}

void PasteFilter::paste(std::uint32_t character) {
  const bool ends_line = character == '\r' || character == '\n';
  if (ends_line && !(character == '\n' && after_return_)) ++new_lines_;
  after_return_ = character == '\r';
  if (ends_line) return;
  for (; new_lines_ > 0; --new_lines_) {
    out_.push_back('\\');
    out_.push_back('n');
  }
  if (character == '\t') out_.push_back(kQuote);
  out_.push_back(character != '\t' && is_control_character(character) ? kReplacement : character);
}

}  // namespace shori
