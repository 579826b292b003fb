// The rules prose/*: marks of thoughts, sounds, emphasis and dialogue, quotes, emoji, spacing.
#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/emoji.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

class ProseLint {
 public:
  ProseLint(const LintedText& text, std::size_t text_begin, BlockFindings& findings)
      : text_begin_(text_begin), findings_(findings), fenced_(text.fenced), bytes_(text.bytes), text_(text.prose()) {}

  void run() {
    fences();
    if (bytes_.holds_any("_*'\"")) paragraphs();
    if (bytes_.holds('>')) {
      for (const TextSpan& line : lines_of(text_)) quoted_line(line);
    }
    if (bytes_.holds_from(0xC2)) curly_quotes();
    capitals();
    if (bytes_.holds_from(0xE2)) emoji();
    replaced_runs();
  }

 private:
  char at(std::size_t offset) const { return offset < text_.size() ? text_[offset] : '\0'; }

  void fences() {
    if (fenced_.open) findings_.add(LintRule::kFences, *fenced_.open);
    for (const TextSpan& text : fenced_.after_close) findings_.add(LintRule::kFences, text);
  }

  void paragraphs() {
    const std::vector<TextSpan> paragraphs = paragraphs_of(text_);
    for (std::size_t i = 0; i < paragraphs.size(); ++i) {
      if (bytes_.holds('_')) thoughts(paragraphs[i]);
      if (bytes_.holds('*')) asterisks(paragraphs[i]);
      if (bytes_.holds('\'')) apostrophes(paragraphs[i]);
      if (bytes_.holds('"')) dialogue(paragraphs[i], i + 1 < paragraphs.size() ? paragraphs[i + 1].begin : kNotFound);
    }
  }

  void thoughts(TextSpan paragraph) {
    std::size_t count = 0, last = 0;
    for (std::size_t i = paragraph.begin; i < paragraph.end; ++i) {
      if (text_[i] != '_') continue;
      const bool inside_word =
          is_word_code_point(code_point_before(text_, i)) && is_word_code_point(code_point_after(text_, i + 1));
      if (inside_word) continue;
      ++count;
      last = i;
    }
    if (count % 2 == 1) findings_.add(LintRule::kThoughts, {last, last + 1});
  }

  // A bullet of a list: `* ` at the start of a line, which may be indented.
  bool is_bullet(std::size_t star) const {
    if (at(star + 1) != ' ') return false;
    while (star > 0 && (text_[star - 1] == ' ' || text_[star - 1] == '\t')) --star;
    return star == 0 || text_[star - 1] == '\n';
  }

  void asterisks(TextSpan paragraph) {
    std::size_t single = 0, last_single = 0, pairs = 0, last_pair = 0;
    for (std::size_t i = paragraph.begin; i < paragraph.end;) {
      if (text_[i] != '*') {
        ++i;
        continue;
      }
      const std::size_t run = run_length(text_, i, '*');
      if (run == 1 && !is_bullet(i)) {
        ++single;
        last_single = i;
      } else if (run == 2) {
        ++pairs;
        last_pair = i;
      } else if (run > 2) {
        findings_.add(LintRule::kEmphasis, {i, i + run});
      }
      i += run;
    }
    if (single % 2 == 1) findings_.add(LintRule::kOnomatopoeia, {last_single, last_single + 1});
    if (pairs % 2 == 1) findings_.add(LintRule::kEmphasis, {last_pair, last_pair + 2});
  }

  void dialogue(TextSpan paragraph, std::size_t next) {
    std::size_t count = 0, last = 0;
    for (std::size_t i = paragraph.begin; i < paragraph.end; ++i) {
      if (text_[i] != '"') continue;
      ++count;
      last = i;
    }
    if (count % 2 == 0) return;
    if (next != kNotFound && at(std::min(text_.find_first_not_of(" \t", next), text_.size())) == '"') return;
    findings_.add(LintRule::kDialogueQuotes, {last, last + 1});
  }

  // Words that begin with an apostrophe of their own.
  bool is_elision(std::size_t apostrophe) const {
    constexpr std::array<std::string_view, 12> words = {"tis",   "twas", "em",   "cause", "bout",  "til",
                                                        "round", "cept", "nuff", "n",     "twere", "twill"};
    std::size_t end = apostrophe + 1;
    while (is_ascii_letter(at(end))) ++end;
    const std::string word = lower_ascii(text_.substr(apostrophe + 1, end - apostrophe - 1));
    return std::find(words.begin(), words.end(), word) != words.end();
  }

  bool opens_group(std::size_t i) const {
    const char32_t before = code_point_before(text_, i), after = code_point_after(text_, i + 1);
    if (is_word_code_point(before) || at(i + 1) == '\'' || (i > 0 && text_[i - 1] == '\'')) return false;
    return is_word_code_point(after) && !is_elision(i);
  }

  bool closes_group(std::size_t i) const {
    const char before = i > 0 ? text_[i - 1] : '\0';
    return before != ' ' && before != '\'' && at(i + 1) != '\'' && !is_word_code_point(code_point_after(text_, i + 1));
  }

  void apostrophes(TextSpan paragraph) {
    std::size_t pairs = 0, last_pair = 0, open = kNotFound;
    for (std::size_t i = paragraph.begin; i < paragraph.end;) {
      if (text_[i] == '\n') open = kNotFound;
      if (text_[i] != '\'') {
        ++i;
        continue;
      }
      const std::size_t run = run_length(text_, i, '\'');
      if (run == 2) {
        ++pairs;
        last_pair = i;
      } else if (run == 1 && open != kNotFound && closes_group(i)) {
        findings_.add(LintRule::kNondialogueQuotes, {open, i + 1});
        open = kNotFound;
      } else if (run == 1 && open == kNotFound && opens_group(i)) {
        open = i;
      }
      i += run;
    }
    if (pairs % 2 == 1)
      findings_.add(LintRule::kNondialogueQuotes, {last_pair, last_pair + 2}, false,
                    "odd number of `''` in a paragraph");
  }

  void quoted_line(TextSpan line) {
    if (at(line.begin) != '>' || line.begin == line.end) return;
    const char next = line.begin + 1 < line.end ? text_[line.begin + 1] : '\0';
    if (next != ' ' && next != '>') findings_.add(LintRule::kQuotedLines, {line.begin, line.begin + 1});
  }

  void curly_quotes() {
    for (std::size_t i = 0; i < text_.size(); ++i) {
      if (static_cast<unsigned char>(text_[i]) < 0xC2 || ascii_quote(text_, i).empty()) continue;
      findings_.add(LintRule::kCurlyQuotes, {i, i + code_point_at(text_, i).bytes});
    }
  }

  void capitals() {
    for (std::size_t i = 0; i < text_.size();) {
      const std::size_t begin = i;
      bool all = true;
      std::size_t letters = 0;
      while (i < text_.size()) {
        const CodePoint c = code_point_at(text_, i);
        if (!is_word_code_point(c.value)) break;
        all = all && ((c.value >= 'A' && c.value <= 'Z') || (c.value >= 0xC0 && c.value <= 0xDE));
        ++letters;
        i += c.bytes;
      }
      if (all && letters > 1) findings_.add(LintRule::kCaps, {begin, i});
      if (i == begin) i += code_point_at(text_, i).bytes;
    }
  }

  void emoji();
  void emoji_run(TextSpan run, std::size_t count);

  void replaced_runs() {
    for (auto run = find_ellipsis(text_, 0); run; run = find_ellipsis(text_, run->end))
      findings_.add(LintRule::kEllipsis, *run);
    for (auto run = find_spacing(text_, 0); run; run = find_spacing(text_, run->span.end))
      findings_.add(LintRule::kSpacing, run->span);
  }

  std::size_t text_begin_;
  BlockFindings& findings_;
  const FencedText& fenced_;
  const ByteSet& bytes_;
  std::string_view text_;
};

void ProseLint::emoji_run(TextSpan run, std::size_t count) {
  constexpr std::size_t kMaxEmoji = 3;
  const std::size_t next = at(run.end) == ' ' ? run.end + 1 : run.end;
  const bool precedes = at(next) == '"' || at(next) == '_';
  const bool at_start = run.begin == 0 || text_[run.begin - 1] == '\n' || run.begin == text_begin_;
  if (count > kMaxEmoji || !(at_start || precedes)) findings_.add(LintRule::kEmoji, run);
}

void ProseLint::emoji() {
  for (std::size_t i = 0; i < text_.size();) {
    if (!may_be_emoji(text_, i) || !is_emoji(text_, i)) {
      ++i;  // a byte inside a character begins no emoji
      continue;
    }
    TextSpan run{i, i};
    std::size_t count = 0;
    while (run.end < text_.size() && is_emoji(text_, run.end)) {
      run.end = emoji_end(text_, run.end);
      ++count;
    }
    emoji_run(run, count);
    i = run.end;
  }
}

}  // namespace

void lint_prose(const LintedText& text, std::size_t text_begin, BlockFindings& findings) {
  ProseLint(text, text_begin, findings).run();
}

}  // namespace shori
