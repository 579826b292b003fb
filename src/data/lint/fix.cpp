// The fixes of the rules that have one; prose_edits.cpp finds those of prose.
//
// A fix edits the prose of a block and nothing else. Two things hold for every rule: an edit never reaches into what
// stands before the text of a message, and what a fix makes of a block is parsed again and kept only where the block
// still is what it was. What is not kept stays a finding.
#include <algorithm>
#include <numeric>
#include <set>

#include "shori/data/length_buckets.h"
#include "src/data/lint/block.h"
#include "src/data/lint/prose_edits.h"

namespace shori {
namespace {

std::size_t& count(LintFixes& fixes, LintRule rule) { return fixes[static_cast<std::size_t>(rule)]; }
std::size_t total(const LintFixes& fixes) { return std::accumulate(fixes.begin(), fixes.end(), std::size_t{0}); }

std::string applied(std::span<const Edit> edits, std::string_view body) {
  std::string result;
  std::size_t done = 0;
  for (const Edit& edit : edits) {
    result.append(body, done, edit.span.begin - done).append(edit.replacement);
    done = edit.span.end;
  }
  return result.append(body, done);
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// Where the prose of a block begins: after the speaker and what separates it from the text.
std::size_t prose_begin(const Segment& segment) {
  return segment.role == Role::kMessage ? segment.body.size() - message_text(segment.body).size() : 0;
}

// Whether a text of these segments is read as these segments.
bool reads_back(std::span<const Segment> segments) {
  Diagnostics ignored;
  const std::optional<BlockmlDocument> read = parse_blockml(render(segments), {}, ignored);
  return read && std::equal(segments.begin(), segments.end(), read->segments.begin(), read->segments.end(),
                            [](const Segment& a, const Segment& b) {
                              return a.role == b.role && a.hint == b.hint && a.body == b.body;
                            });
}

// Formatted text of a body, which no rule of prose may reach. A fix that moves a fence would open it to them.
std::string fenced_text(std::string_view body) {
  std::string fenced;
  const FencedText found = blank_fences(body);
  const std::string_view prose = found.prose(body);
  for (std::size_t at = 0; at < prose.size(); ++at) {
    if (prose[at] == kBlanked) fenced += body[at];
  }
  return fenced;
}

// The guard of all fixes: `after`, what a fix makes of the block `before` and of it alone, is read back as it is, and
// its first block has the head and the speaker of `before`. A message without a text is not read back: the parser trims
// what is left of it.
bool keeps_meaning(const Segment& before, std::vector<Segment> after) {
  const Segment& block = after.front();
  const std::size_t begin = prose_begin(before);
  if (block.role != before.role || block.hint != before.hint || prose_begin(block) != begin) return false;
  if (block.body.compare(0, begin, before.body, 0, begin) != 0) return false;
  if (fenced_text(block.body) != fenced_text(before.body)) return false;
  // A text without a message is no conversation; with this one in it the parser takes any block.
  after.push_back({Role::kMessage, LengthHint::kNone, "x"});
  return reads_back(after);
}

// Edits of a body one after the other, each kept where the block stays what it was.
class GuardedEdits {
 public:
  explicit GuardedEdits(Segment& segment) : before_(segment), segment_(segment) {}

  // How many are kept.
  std::size_t keep(std::span<const Edit> edits) {
    keep_most(edits);
    return kept_.size();
  }

 private:
  // Nearly always all of them can be kept, which one look at the whole shows; else the halves are looked at.
  void keep_most(std::span<const Edit> edits) {
    if (edits.empty() || take(edits) || edits.size() == 1) return;
    keep_most(edits.first(edits.size() / 2));
    keep_most(edits.subspan(edits.size() / 2));
  }

  bool take(std::span<const Edit> edits) {
    std::vector<Edit> wanted = kept_;
    wanted.insert(wanted.end(), edits.begin(), edits.end());
    Segment after = before_;
    after.body = applied(wanted, before_.body);
    if (!keeps_meaning(before_, {after})) return false;
    kept_ = std::move(wanted);
    segment_.body = std::move(after.body);
    return true;
  }

  const Segment before_;
  Segment& segment_;
  std::vector<Edit> kept_;
};

std::string trimmed(std::string text, bool front) {
  while (!text.empty() && is_blank(text.back())) text.pop_back();
  if (front) text.erase(0, std::min(text.find_first_not_of(" \t\n"), text.size()));
  return text;
}

// What remains of a text without `spans`: spaces around each are joined to one, a line of its own goes as a whole.
// `offset`: of the text in the body in which the spans count.
std::string without(std::string_view text, std::size_t offset, std::span<const InlineOoc> spans) {
  std::string rest;
  std::size_t done = 0;
  for (const InlineOoc& ooc : spans) {
    rest.append(text, done, ooc.span.begin - offset - done);
    done = ooc.span.end - offset;
    while (rest.ends_with(' ')) rest.pop_back();
    while (done < text.size() && text[done] == ' ') ++done;
    const bool line_start = rest.empty() || rest.back() == '\n';
    const bool line_end = done == text.size() || text[done] == '\n';
    if (line_start && line_end && done < text.size()) ++done;
    if (!line_start && !line_end) rest += ' ';
  }
  return trimmed(rest.append(text, done), !is_blank(text.front()));
}

// The message without the talk, and an `ooc` block for each of them after it.
std::vector<Segment> lifted(const Segment& message, std::span<const InlineOoc> talk) {
  const std::size_t begin = prose_begin(message);
  std::vector<Segment> blocks = {message};
  blocks[0].body.replace(begin, std::string::npos, without(std::string_view(message.body).substr(begin), begin, talk));
  for (const InlineOoc& ooc : talk) {
    Segment block = message;
    block.role = Role::kOoc;
    block.hint = LengthHint::kNone;
    block.body = message.body.substr(ooc.inner.begin, ooc.inner.end - ooc.inner.begin);
    blocks.push_back(std::move(block));
  }
  return blocks;
}

// Speakers whose names a rule of prose would spell in another way. As the speaker keeps its spelling, so does the name
// wherever it stands: a description is that of a speaker by the same spelling.
std::vector<std::string> names_to_keep(const BlockmlDocument& document) {
  constexpr std::size_t kMaxNames = 1000;  // each is looked for in every body
  std::set<std::string> names;
  for (const Segment& segment : document.segments) {
    const auto speaker = segment.role == Role::kMessage ? find_speaker(segment.body) : std::nullopt;
    if (!speaker || names.size() == kMaxNames) continue;
    const std::span<const ProseFix> fixes = prose_fixes();
    if (std::any_of(fixes.begin(), fixes.end(), [&](const ProseFix& fix) { return !fix.find(speaker->name).empty(); }))
      names.emplace(speaker->name);
  }
  return {names.begin(), names.end()};
}

// `prose` with the names blanked.
std::string blank_names(std::string prose, std::span<const std::string> names) {
  const std::string text = names.empty() ? std::string() : prose;
  for (const std::string& name : names) {
    for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + name.size()))
      std::fill_n(prose.begin() + static_cast<std::ptrdiff_t>(at), name.size(), kBlanked);
  }
  return prose;
}

class DocumentFixer {
 public:
  DocumentFixer(BlockmlDocument& document, const LintOptions& options)
      : document_(document), options_(options), names_(names_to_keep(document)) {}

  // A fix may uncover the next: what is lifted out of a text leaves its neighbours side by side. A text that goes on so for
  // longer than any chat stays as it is.
  FixOutcome run() {
    constexpr int kMaxPasses = 100;
    const std::vector<Segment> before = document_.segments;
    bool is_done = false;
    for (int passes = 0; !is_done && passes < kMaxPasses; ++passes) {
      const std::size_t fixed = total(outcome_.fixed);
      outcome_.dropped = {};
      pass();
      is_done = total(outcome_.fixed) == fixed;
    }
    if (total(outcome_.fixed) > 0 && (!is_done || !reads_back(document_.segments))) drop_all(before);
    return outcome_;
  }

 private:
  bool wants(LintRule rule) const { return options_.level(rule) != LintLevel::kOff; }

  // Block by block all is well, and yet the whole is over a limit of a conversation.
  void drop_all(const std::vector<Segment>& before) {
    document_.segments = before;
    for (std::size_t i = 0; i < kLintRuleCount; ++i) outcome_.dropped[i] += std::exchange(outcome_.fixed[i], 0);
  }

  void pass() {
    std::vector<Segment> segments = std::move(document_.segments);
    document_.segments.clear();
    for (Segment& segment : segments) {
      if (segment.role != Role::kTitle && segment.role != Role::kTags && segment.role != Role::kInst) {
        for (const ProseFix& fix : prose_fixes()) fix_prose(fix, segment);
      }
      if (segment.role == Role::kMessage && wants(LintRule::kInlineOoc)) {
        lift(std::move(segment));
      } else {
        document_.segments.push_back(std::move(segment));
      }
    }
  }

  void fix_prose(const ProseFix& fix, Segment& segment) {
    if (!wants(fix.rule)) return;
    const FencedText fenced = blank_fences(segment.body);
    const std::string prose(fenced.prose(segment.body));
    const std::vector<Edit> found = fix.find(prose);
    if (found.empty()) return;
    const std::vector<Edit> edits = inside_text(found, blank_names(prose, names_), prose_begin(segment));
    const std::size_t kept = GuardedEdits(segment).keep(edits);
    count(outcome_.fixed, fix.rule) += kept;
    count(outcome_.dropped, fix.rule) += found.size() - kept;
  }

  // The edits of the text that begins at `begin`, but for those of names. A deletion that begins before the text
  // deletes what it has of the text.
  static std::vector<Edit> inside_text(const std::vector<Edit>& found, std::string_view named, std::size_t begin) {
    std::vector<Edit> edits;
    for (Edit edit : found) {
      if (edit.replacement.empty()) edit.span.begin = std::max(edit.span.begin, begin);
      const bool changes = edit.span.begin < edit.span.end || !edit.replacement.empty();
      if (!changes || edit.span.begin < begin) continue;
      const std::string_view replaced = named.substr(edit.span.begin, edit.span.end - edit.span.begin);
      if (replaced.find(kBlanked) == std::string_view::npos) edits.push_back(std::move(edit));
    }
    return edits;
  }

  // All the talk of a message or none: of a message that is nothing but talk no part would be the right one to leave.
  void lift(Segment message) {
    const std::size_t begin = prose_begin(message);
    std::vector<InlineOoc> talk = find_inline_ooc(message.body);
    const std::size_t outside = std::erase_if(talk, [&](const InlineOoc& ooc) { return ooc.span.begin < begin; });
    std::vector<Segment> blocks = {message};
    if (!talk.empty()) blocks = lifted(message, talk);
    const bool kept = !talk.empty() && keeps_meaning(message, blocks);
    count(outcome_.fixed, LintRule::kInlineOoc) += kept ? talk.size() : 0;
    count(outcome_.dropped, LintRule::kInlineOoc) += outside + (kept ? 0 : talk.size());
    if (!kept) blocks = {std::move(message)};
    for (Segment& block : blocks) document_.segments.push_back(std::move(block));
  }

  BlockmlDocument& document_;
  const LintOptions& options_;
  const std::vector<std::string> names_;
  FixOutcome outcome_;
};

}  // namespace

FixOutcome fix_document(BlockmlDocument& document, const LintOptions& options) {
  return DocumentFixer(document, options).run();
}

}  // namespace shori
