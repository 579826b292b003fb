#include "shori/data/blockml.h"

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kVariantNames[kVariantCount] = {"one-line block", "separators", "spaces after a head",
                                                           "white space around a text", "[INST] without inner spaces"};
constexpr std::size_t kSpeakerCodePoints = 64;

// A speaker name must not start with a character that opens markup, and must not contain quotes, tabs or newlines.
bool may_begin_name(char c) { return std::string_view(" \t\n\"_*>`:([").find(c) == std::string_view::npos; }
bool may_be_in_name(char c) { return c != '"' && c != '\n' && c != '\t'; }

bool is_name(std::string_view name) {
  if (name.empty() || !may_begin_name(name.front()) || name.back() == ' ') return false;
  for (const char c : name) {
    if (!may_be_in_name(c)) return false;
  }
  return name.size() <= 4 * kSpeakerCodePoints && count_code_points(name) <= kSpeakerCodePoints;
}

}  // namespace

std::string_view variant_name(Variant variant) { return kVariantNames[static_cast<std::size_t>(variant)]; }

void append_segment(const Segment& segment, std::string& text) {
  if (!segment.is_block()) {
    text.append(kInstBegin).append(segment.body).append(kInstEnd);
    return;
  }
  text.append(block_head(segment.role, segment.hint)).append(segment.body).append(kBlockEnd);
}

std::string block_head(Role role, LengthHint hint) {
  std::string head = concat(kBlockOpen, role_name(role));
  if (hint != LengthHint::kNone) head.append(" (length: ").append(length_name(hint)).append(")");
  return head.append("\n");
}

std::string render_segment(const Segment& segment) {
  std::string text;
  append_segment(segment, text);
  return text;
}

std::string render(std::span<const Segment> segments) {
  constexpr std::size_t kMarkup = 48;  // more than any segment adds to its body
  std::size_t size = 0;
  for (const Segment& segment : segments) size += segment.body.size() + kMarkup;
  std::string text;
  text.reserve(size);
  for (const Segment& segment : segments) append_segment(segment, text);
  return text;
}

std::optional<Speaker> find_speaker(std::string_view body) {
  const std::size_t colon = body.substr(0, body.find('\n')).find(':');
  if (colon == std::string_view::npos || colon + 1 >= body.size()) return std::nullopt;
  const char next = body[colon + 1];
  if (next != ' ' && next != '\n') return std::nullopt;
  const std::string_view name = body.substr(0, colon);
  if (!is_name(name)) return std::nullopt;
  return Speaker{name, colon + 2};
}

}  // namespace shori
