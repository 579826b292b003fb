#include "src/data/blockml/emoji.h"

#include <algorithm>
#include <iterator>

#include "shori/util/utf8.h"

namespace shori {
namespace {

struct CodePointRange {
  char32_t first, last;
};

// Characters that are shown as pictures (Emoji_Presentation of Unicode's emoji-data), and four hearts and faces that
// people write as such.
constexpr CodePointRange kEmoji[] = {
    {0x231A, 0x231B},   {0x23E9, 0x23EC},   {0x23F0, 0x23F0},   {0x23F3, 0x23F3},   {0x25FD, 0x25FE},
    {0x2614, 0x2615},   {0x2639, 0x263A},   {0x2648, 0x2653},   {0x2665, 0x2665},   {0x267F, 0x267F},
    {0x2693, 0x2693},   {0x26A1, 0x26A1},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26CE, 0x26CE},   {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2764, 0x2764},
    {0x2795, 0x2797},   {0x27B0, 0x27B0},   {0x27BF, 0x27BF},   {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},
    {0x2B55, 0x2B55},   {0x1F004, 0x1F004}, {0x1F0CF, 0x1F0CF}, {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A},
    {0x1F1E6, 0x1F202}, {0x1F21A, 0x1F21A}, {0x1F22F, 0x1F23A}, {0x1F250, 0x1F251}, {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F7E0, 0x1F7EB}, {0x1F7F0, 0x1F7F0}, {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF}};

constexpr char32_t kJoiner = 0x200D, kPictureSelector = 0xFE0F, kKeycap = 0x20E3;

// 0 at the end.
char32_t code_point_from(std::string_view text, std::size_t offset) {
  return offset < text.size() ? static_cast<char32_t>(code_point_at(text, offset).value) : U'\0';
}

bool is_skin_tone(char32_t c) { return c >= 0x1F3FB && c <= 0x1F3FF; }
bool is_flag_letter(char32_t c) { return c >= 0x1F1E6 && c <= 0x1F1FF; }

}  // namespace

bool is_emoji(std::string_view text, std::size_t offset) {
  const CodePoint c = code_point_at(text, offset);
  const auto holds = [&](const CodePointRange& range) { return c.value >= range.first && c.value <= range.last; };
  if (std::any_of(std::begin(kEmoji), std::end(kEmoji), holds)) return true;
  return (c.value >= 0x2000 || c.value < 0x80) && c.value != '\n' &&
         code_point_from(text, offset + c.bytes) == kPictureSelector;
}

std::size_t emoji_end(std::string_view text, std::size_t offset) {
  const CodePoint first = code_point_at(text, offset);
  std::size_t end = offset + first.bytes;
  if (is_flag_letter(first.value) && is_flag_letter(code_point_from(text, end))) return end + 4;
  while (end < text.size()) {
    const CodePoint c = code_point_at(text, end);
    if (c.value == kJoiner && end + c.bytes < text.size() && is_emoji(text, end + c.bytes)) {
      end += c.bytes;
      end += code_point_at(text, end).bytes;
    } else if (c.value == kPictureSelector || c.value == kKeycap || is_skin_tone(c.value)) {
      end += c.bytes;
    } else {
      break;
    }
  }
  return end;
}

std::int64_t count_emoji(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (may_be_emoji(text, i) && is_emoji(text, i)) {
      i = emoji_end(text, i);
      ++count;
    } else {
      i += code_point_at(text, i).bytes;
    }
  }
  return count;
}

}  // namespace shori
