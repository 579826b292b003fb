// BlockML: a conversation as a sequence of blocks `▀role⏎body▄⏎` and instructions `[INST] text [/INST]⏎`.
//
// White space is exactly U+0020, U+0009 and U+000A. The parser also takes a few other spellings (Variant), which
// rendering removes; everything else is an error, nothing is repaired.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/util/error.h"

namespace shori {

inline constexpr std::string_view kBlockOpen = "\xE2\x96\x80";   // ▀ U+2580
inline constexpr std::string_view kBlockClose = "\xE2\x96\x84";  // ▄ U+2584

// What stands around a body in canonical text.
inline constexpr std::string_view kBlockEnd = "\xE2\x96\x84\n";
inline constexpr std::string_view kInstBegin = "[INST] ", kInstEnd = " [/INST]\n";

// Limits of a conversation (E0317).
inline constexpr std::size_t kConversationBytes = 64u << 20;
inline constexpr std::size_t kBlockBytes = 1u << 20;  // ▀ to ▄, and [INST] to [/INST]
inline constexpr std::size_t kHeadBytes = 256;        // ▀ to the end of the role or of the hint
inline constexpr std::size_t kSegmentLimit = 1'000'000;

inline std::string_view role_name(Role role) { return word_of(role); }  // "title" ... "ooc", "inst"
inline std::optional<Role> find_role(std::string_view name) { return find_word<Role>(name); }

// One of the nine words; "" for kNone.
inline std::string_view length_name(LengthHint hint) { return hint == LengthHint::kNone ? "" : word_of(hint); }

// The white space of BlockML: no other is trimmed or separates.
constexpr bool is_blockml_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// Without white space at both ends.
constexpr std::string_view trim_blockml(std::string_view text) {
  while (!text.empty() && is_blockml_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blockml_space(text.back())) text.remove_suffix(1);
  return text;
}

// A block or an instruction. `body` is not empty and has no white space at either end.
struct Segment {
  Role role = Role::kMessage;
  LengthHint hint = LengthHint::kNone;  // of a message
  std::string body;
  std::size_t line = 1, column = 1;  // of the ▀ or [ in the text, 1-based, in code points
  std::size_t begin = 0, end = 0;    // bytes of the text, ▀ to ▄ or [INST] to [/INST]

  bool is_block() const { return role != Role::kInst; }
};

// Accepted spellings that are not canonical.
enum class Variant : std::uint8_t {
  kOneLine,     // a space instead of the newline after the head
  kSeparator,   // white space around segments other than one newline after each
  kHeadSpaces,  // spaces at the end of the head line
  kTrimmed,     // white space at either end of a body
  kInstSpaces,  // [INST] or [/INST] without its inner space
};
inline constexpr std::size_t kVariantCount = 5;
std::string_view variant_name(Variant variant);
using VariantCounts = std::array<std::size_t, kVariantCount>;

struct BlockmlDocument {
  std::vector<Segment> segments;  // at least one message
  VariantCounts variants{};
  VariantCounts variant_offsets{};  // byte of the text where each occurs first
};

// Where a text comes from, for messages. The location of a problem is file:line:column if the text is a whole file; for
// the text of a JSONL line it is that line, with `text L:C` in the message.
struct TextSource {
  std::string file;
  std::size_t jsonl_line = 0;  // 0: the text is the file
};

// A problem at byte `offset` of a text.
Diagnostic problem_at(std::string_view code, std::string message, std::string_view text, const TextSource& source,
                      std::size_t offset);

// Checks that hold for every text that is trained: size (E0317), UTF-8, byte order mark and control characters (E0304),
// CR (E0309). Reports the first problem only; false if there is one.
bool check_text(std::string_view text, const TextSource& source, Diagnostics& diagnostics);

// Parses one conversation. All its problems are added in the order of the text (E0301-E0304, E0306, E0308-E0311, E0316,
// E0317), and nullopt is returned. After an error, parsing resumes at the next line that starts with ▀ or [INST].
// Linear in the input; holds one copy of each body.
std::optional<BlockmlDocument> parse_blockml(std::string_view text, const TextSource& source, Diagnostics& diagnostics);

// The canonical text. parse(render(d)) gives d, and render(parse(x)) is x for canonical x.
std::string render(std::span<const Segment> segments);
inline std::string render(const BlockmlDocument& document) { return render(document.segments); }
void append_segment(const Segment& segment, std::string& text);
// The line that a block begins with: "▀message (length: tiny)\n".
std::string block_head(Role role, LengthHint hint = LengthHint::kNone);
std::string render_segment(const Segment& segment);

// The speaker of a message body: the text before the first colon of its first line, if that is a name and a space or
// newline follows the colon. nullopt for narration.
struct Speaker {
  std::string_view name;
  std::size_t text_begin;  // after the one space or newline
};
std::optional<Speaker> find_speaker(std::string_view body);

}  // namespace shori
