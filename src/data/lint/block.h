// The findings of one block, and the body that the rules look at.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/data/lint.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_span.h"

namespace shori {

// Collects one finding per rule, located where it occurs first.
class BlockFindings {
 public:
  BlockFindings(std::size_t segment, const LintOptions& options) : segment_(segment), options_(options) {}

  bool wants(LintRule rule, bool listed = false) const { return options_.level(rule, listed) != LintLevel::kOff; }
  const LintOptions& options() const { return options_; }
  // `listed`: named by a list of the config, which has a level of its own. `detail` replaces the rule's message if this
  // is its first occurrence.
  void add(LintRule rule, TextSpan span, bool listed = false, std::string_view detail = {});
  // At the block itself. `subject`: as LintFinding.
  void add_block(LintRule rule, std::string message, std::string subject, std::size_t count = 1);
  void move_to(std::vector<LintFinding>& all);

 private:
  std::size_t segment_;
  const LintOptions& options_;
  std::map<std::size_t, LintFinding> found_;  // most blocks have none
};

std::string_view lint_rule_message(LintRule rule);
std::string_view lint_rule_help(LintRule rule);

// The fenced text of a body. In its prose, bytes that no rule looks for stand in place of it.
struct FencedText {
  std::string blanked;                // empty: nothing is fenced, the prose is the body
  std::optional<TextSpan> open;       // a fence that is not closed
  std::vector<TextSpan> after_close;  // text after a closing fence on its line

  std::string_view prose(std::string_view body) const { return blanked.empty() ? body : std::string_view(blanked); }
};
FencedText blank_fences(std::string_view body);
inline constexpr char kBlanked = '\x01';

// Which bytes a text holds: tells a rule that its marks, or a byte of its word, do not occur.
class ByteSet {
 public:
  explicit ByteSet(std::string_view text) {
    for (const char c : text) holds_[static_cast<unsigned char>(c)] = true;
  }
  bool holds(char c) const { return holds_[static_cast<unsigned char>(c)]; }
  bool holds_any(std::string_view bytes) const {
    return std::any_of(bytes.begin(), bytes.end(), [this](char c) { return holds(c); });
  }
  bool holds_all(std::string_view bytes) const {
    return std::all_of(bytes.begin(), bytes.end(), [this](char c) { return holds(c); });
  }
  bool holds_from(unsigned char first) const {
    return std::find(holds_.begin() + first, holds_.end(), true) != holds_.end();
  }

 private:
  std::array<bool, 256> holds_{};
};

// A body in the forms that rules read, each made once. The body must outlive it.
struct LintedText {
  explicit LintedText(std::string_view text);
  std::string_view prose() const { return fenced.prose(body); }

  std::string_view body;
  std::string lower;  // ASCII letters in lower case
  FencedText fenced;
  ByteSet bytes;  // of `lower`
};

// Lines of a text, without their newlines.
std::vector<TextSpan> lines_of(std::string_view text);
// Runs of lines without an empty line (nothing but white space).
std::vector<TextSpan> paragraphs_of(std::string_view text);
// The run of the byte `c` that begins at `begin`.
std::size_t run_length(std::string_view text, std::size_t begin, char c);

inline constexpr std::size_t kNotFound = std::string_view::npos;

// As find_first_of(), which calls a function for each byte of the text.
template <char... kMarks>
std::size_t find_mark(std::string_view text, std::size_t from = 0) {
  const auto is_mark = [](char c) { return ((c == kMarks) || ...); };
  while (from < text.size() && !is_mark(text[from])) ++from;
  return from < text.size() ? from : kNotFound;
}

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_beyond_ascii(char32_t value);
// A letter or digit.
inline bool is_word_code_point(char32_t value) {
  if (value >= 0x80) return is_word_beyond_ascii(value);
  return is_ascii_letter(static_cast<char>(value)) || is_ascii_digit(static_cast<char>(value));
}
// The code points next to a byte offset; 0 at the ends.
char32_t code_point_before(std::string_view text, std::size_t offset);
char32_t code_point_after(std::string_view text, std::size_t offset);

// Talk out of character inside a message: `(OOC: ...)`, `((...))`, `[OOC ...]`, with what it says.
struct InlineOoc {
  TextSpan span, inner;
};
std::vector<InlineOoc> find_inline_ooc(std::string_view body);  // in order, none inside another

// Runs that the fixes replace.
std::optional<TextSpan> find_ellipsis(std::string_view text, std::size_t from);  // `…`, or four dots and more
struct SpaceRun {
  TextSpan span;
  std::string_view replacement;  // one space, or none
};
std::optional<SpaceRun> find_spacing(std::string_view text, std::size_t from);
std::string_view ascii_quote(std::string_view text, std::size_t at);  // "'" or "\"" for a curly one

void lint_prose(const LintedText& text, std::size_t text_begin, BlockFindings& findings);
void lint_privacy(const LintedText& text, BlockFindings& findings);
void lint_leftovers(const LintedText& text, BlockFindings& findings);
void lint_refusals(const LintedText& text, BlockFindings& findings);
void lint_markup(const LintedText& text, BlockFindings& findings);
// Whether `<name>` or `</name>`, in lower case, encloses what a model thinks.
bool is_reasoning_tag(std::string_view name);
// Rules about speakers and what they say; all blocks of a document.
void lint_speakers(const BlockmlDocument& document, const LintOptions& options, std::vector<LintFinding>& findings);
// "`Old Tam` (3 messages)".
std::string speaker_text(std::string_view name, std::size_t messages);
// Rules about the order of blocks, speakers and lengths; all blocks of a document.
void lint_structure(const BlockmlDocument& document, std::span<const std::int64_t> message_ids,
                    const LintOptions& options, std::vector<LintFinding>& findings);

}  // namespace shori
