// Emoji in a text of valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace shori {

// A fast first check: if false, no emoji begins at `offset`. Reads two bytes.
inline bool may_be_emoji(std::string_view text, std::size_t offset) {
  return static_cast<unsigned char>(text[offset]) >= 0xE2 || (offset + 1 < text.size() && text[offset + 1] == '\xEF');
}
// Whether the code point at `offset` is shown as a picture.
bool is_emoji(std::string_view text, std::size_t offset);
// One past the emoji at `offset`: with selectors, skin tones, joined pictures, and the second letter of a flag.
std::size_t emoji_end(std::string_view text, std::size_t offset);

std::int64_t count_emoji(std::string_view text);

}  // namespace shori
