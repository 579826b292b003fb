// The fixes of the rules that have one.
#include <algorithm>
#include <numeric>

#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

struct Edit {
  TextSpan span;
  std::string replacement;
};

std::size_t& count(LintFixes& fixes, LintRule rule) { return fixes[static_cast<std::size_t>(rule)]; }

// Edits of one rule, by place, found in the text with its fences blanked.
using FindEdits = std::vector<Edit> (*)(std::string_view prose);

std::vector<Edit> ascii_quotes(std::string_view prose) {
  std::vector<Edit> edits;
  for (std::size_t at = 0; at < prose.size(); ++at) {
    if (static_cast<unsigned char>(prose[at]) < 0xC2) continue;
    const std::string_view ascii = ascii_quote(prose, at);
    if (!ascii.empty()) edits.push_back({{at, at + code_point_at(prose, at).bytes}, std::string(ascii)});
  }
  return edits;
}

std::vector<Edit> three_dots(std::string_view prose) {
  std::vector<Edit> edits;
  for (auto run = find_ellipsis(prose, 0); run; run = find_ellipsis(prose, run->end)) edits.push_back({*run, "..."});
  return edits;
}

std::vector<Edit> single_spaces(std::string_view prose) {
  std::vector<Edit> edits;
  for (auto run = find_spacing(prose, 0); run; run = find_spacing(prose, run->span.end))
    edits.push_back({run->span, std::string(run->replacement)});
  return edits;
}

// The space behind `>`; not at the end of the text, where it would not stay.
std::vector<Edit> spaced_quotes(std::string_view prose) {
  std::vector<Edit> edits;
  for (const TextSpan& line : lines_of(prose)) {
    const std::size_t next = line.begin + 1;
    if (line.begin == line.end || prose[line.begin] != '>' || next >= prose.size()) continue;
    if (next == line.end || (prose[next] != ' ' && prose[next] != '>')) edits.push_back({{next, next}, " "});
  }
  return edits;
}

void apply(const std::vector<Edit>& edits, std::string& body) {
  std::string result;
  std::size_t done = 0;
  for (const Edit& edit : edits) {
    result.append(body, done, edit.span.begin - done).append(edit.replacement);
    done = edit.span.end;
  }
  body = result.append(body, done);
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

std::string trimmed(std::string text) {
  while (!text.empty() && is_blank(text.back())) text.pop_back();
  text.erase(0, std::min(text.find_first_not_of(" \t\n"), text.size()));
  return text;
}

// What remains of a body without `spans`: spaces around each are joined to one, a line of its own goes as a whole.
std::string without(const std::string& body, const std::vector<InlineOoc>& spans) {
  std::string rest;
  std::size_t done = 0;
  for (const InlineOoc& ooc : spans) {
    rest.append(body, done, ooc.span.begin - done);
    done = ooc.span.end;
    while (rest.ends_with(' ')) rest.pop_back();
    while (done < body.size() && body[done] == ' ') ++done;
    const bool line_start = rest.empty() || rest.back() == '\n';
    const bool line_end = done == body.size() || body[done] == '\n';
    if (line_start && line_end && done < body.size()) ++done;
    if (!line_start && !line_end) rest += ' ';
  }
  return trimmed(rest.append(body, done));
}

class DocumentFixer {
 public:
  DocumentFixer(BlockmlDocument& document, const LintOptions& options) : document_(document), options_(options) {}

  // A fix may uncover the next: what is lifted out of a text leaves its neighbours side by side.
  LintFixes run() {
    constexpr int kMaxPasses = 100;
    for (int passes = 0;; ++passes) {
      SHORI_CHECK(passes < kMaxPasses, "the fixes undo one another");
      const std::size_t before = total();
      pass();
      if (total() == before) return fixes_;
    }
  }

 private:
  std::size_t total() const { return std::accumulate(fixes_.begin(), fixes_.end(), std::size_t{0}); }

  void pass() {
    std::vector<Segment> segments = std::move(document_.segments);
    messages_ =
        std::count_if(segments.begin(), segments.end(), [](const Segment& s) { return s.role == Role::kMessage; });
    document_.segments.clear();
    for (Segment& segment : segments) {
      if (segment.role != Role::kTitle && segment.role != Role::kTags && segment.role != Role::kInst)
        mend(segment.body);
      if (segment.role == Role::kMessage && wants(LintRule::kInlineOoc)) {
        lift(std::move(segment));
      } else {
        document_.segments.push_back(std::move(segment));
      }
    }
  }

  bool wants(LintRule rule) const { return options_.level(rule) != LintLevel::kOff; }

  void mend(std::string& body) {
    apply_rule(LintRule::kCurlyQuotes, ascii_quotes, body);
    apply_rule(LintRule::kEllipsis, three_dots, body);
    apply_rule(LintRule::kSpacing, single_spaces, body);
    apply_rule(LintRule::kQuotedLines, spaced_quotes, body);
  }

  void apply_rule(LintRule rule, FindEdits find, std::string& body) {
    if (!wants(rule)) return;
    const std::vector<Edit> edits = find(blank_fences(body).prose);
    if (edits.empty()) return;
    apply(edits, body);
    count(fixes_, rule) += edits.size();
  }

  // A message left with nothing but its speaker goes; the last message stays as it is.
  void lift(Segment message) {
    const std::vector<InlineOoc> talk = find_inline_ooc(message.body);
    const std::string rest = without(message.body, talk);
    const auto speaker = find_speaker(message.body);
    const bool nothing_left = rest.empty() || (speaker && rest == std::string(speaker->name) + ":");
    if (talk.empty() || (nothing_left && messages_ == 1)) {
      document_.segments.push_back(std::move(message));
      return;
    }
    count(fixes_, LintRule::kInlineOoc) += talk.size();
    std::vector<Segment> blocks;
    for (const InlineOoc& ooc : talk) {
      Segment block = message;
      block.role = Role::kOoc;
      block.hint = LengthHint::kNone;
      block.body = message.body.substr(ooc.inner.begin, ooc.inner.end - ooc.inner.begin);
      blocks.push_back(std::move(block));
    }
    messages_ -= nothing_left ? 1 : 0;
    message.body = rest;
    if (!nothing_left) document_.segments.push_back(std::move(message));
    for (Segment& block : blocks) document_.segments.push_back(std::move(block));
  }

  BlockmlDocument& document_;
  const LintOptions& options_;
  LintFixes fixes_{};
  std::ptrdiff_t messages_ = 0;
};

}  // namespace

LintFixes fix_document(BlockmlDocument& document, const LintOptions& options) {
  return DocumentFixer(document, options).run();
}

}  // namespace shori
