// The parser: one pass over the bytes, segment by segment. Searches that may run far ahead are remembered, so that each
// byte is read a bounded number of times whatever the text is.
#include <algorithm>

#include "shori/data/blockml.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/segment_checks.h"
#include "src/data/blockml/text_problem.h"

namespace shori {
namespace {

constexpr std::string_view kInstOpen = "[INST]";
constexpr std::string_view kInstClose = "[/INST]";
constexpr std::size_t kNone = std::string_view::npos;
constexpr std::size_t kShownWord = 40;  // code points of an unknown word in a message

bool equals_folded(std::string_view text, std::string_view lower) { return lower_ascii(text) == lower; }

LengthHint find_length(std::string_view word) {
  const bool known = std::find(kLengthWords.begin(), kLengthWords.end(), word) != kLengthWords.end();
  return known ? *find_word<LengthHint>(word) : LengthHint::kNone;
}

std::string length_list() { return "lengths: " + join_words(kLengthWords, " "); }

// The first line of a block: `▀role` or `▀message (length: X)`.
struct Head {
  Role role = Role::kMessage;
  LengthHint hint = LengthHint::kNone;
  std::size_t end = 0;  // one past the role or the hint
};

class Parser {
 public:
  Parser(std::string_view text, const TextSource& source, Diagnostics& diagnostics)
      : text_(text), source_(source), diagnostics_(diagnostics), cursor_(text) {}

  std::optional<BlockmlDocument> run();

 private:
  bool at(std::size_t offset, std::string_view word) const { return text_.substr(offset).starts_with(word); }
  char byte_at(std::size_t offset) const { return offset < text_.size() ? text_[offset] : '\0'; }
  bool at_mark(std::size_t offset) const { return at(offset, kBlockOpen) || at(offset, kBlockClose); }
  std::size_t next_mark(std::size_t from);
  std::size_t next_inst_close(std::size_t from);
  std::size_t resume_after(std::size_t offset) const;
  void count(Variant variant, std::size_t offset) {
    const auto index = static_cast<std::size_t>(variant);
    if (document_.variants[index]++ == 0) document_.variant_offsets[index] = offset;
  }

  // Reports a problem of `bytes` bytes at `offset`, which is not left of the one before. Always nullopt, which stands
  // for "no end of a segment".
  std::nullopt_t fail(Diagnostic problem, std::size_t offset, std::size_t bytes = 1);
  std::nullopt_t fail_limit(Diagnostic problem, std::size_t offset);

  // Each returns one past the segment, or nullopt after a problem.
  std::optional<std::size_t> parse_segment(std::size_t begin);
  std::optional<std::size_t> parse_block(std::size_t begin);
  std::optional<std::size_t> parse_inst(std::size_t begin);
  std::nullopt_t fail_outside(std::size_t begin);

  std::optional<Head> parse_head(std::size_t begin);
  std::nullopt_t fail_role(std::size_t begin, std::string_view word);
  std::optional<Head> parse_hint(std::size_t begin, Head head, std::size_t paren);
  std::size_t skip_to_body(std::size_t head_end);
  std::nullopt_t fail_unclosed(std::size_t begin, std::size_t mark);
  std::string_view take_body(std::string_view raw);
  bool check_special_tokens(std::size_t begin, std::size_t end);
  std::optional<std::size_t> finish_segment(const Head& head, std::string_view body, std::size_t begin,
                                            std::size_t end);

  std::string_view text_;
  const TextSource& source_;
  Diagnostics& diagnostics_;
  TextCursor cursor_;
  BlockmlDocument document_;
  bool failed_ = false;
  std::size_t failed_at_ = 0;      // offset of the last problem
  bool special_reported_ = false;  // once per text
  std::size_t mark_ = 0;           // remembered: no mark in [mark_from_, mark_)
  std::size_t mark_from_ = 1;
  std::size_t inst_close_ = 0;
  std::size_t inst_close_from_ = 1;
};

std::size_t Parser::next_mark(std::size_t from) {
  if (from >= mark_from_ && (mark_ == kNone || from <= mark_)) return mark_;
  mark_from_ = from;
  mark_ = text_.find(kBlockOpen.front(), from);
  while (mark_ != kNone && !at_mark(mark_)) mark_ = text_.find(kBlockOpen.front(), mark_ + 1);
  return mark_;
}

std::size_t Parser::next_inst_close(std::size_t from) {
  if (from >= inst_close_from_ && (inst_close_ == kNone || from <= inst_close_)) return inst_close_;
  inst_close_from_ = from;
  return inst_close_ = text_.find(kInstClose, from);
}

std::size_t Parser::resume_after(std::size_t offset) const {
  for (std::size_t line = text_.find('\n', offset); line != kNone; line = text_.find('\n', line + 1)) {
    if (at(line + 1, kBlockOpen) || at(line + 1, kInstOpen)) return line + 1;
  }
  return text_.size();
}

std::nullopt_t Parser::fail(Diagnostic problem, std::size_t offset, std::size_t bytes) {
  failed_ = true;
  failed_at_ = offset;
  TextCursor at = cursor_;
  at.move_to(offset);
  const std::size_t code_points = std::max<std::size_t>(1, count_code_points(text_.substr(offset, bytes)));
  diagnostics_.add(text_problem(std::move(problem), source_, at, code_points));
  return std::nullopt;
}

std::nullopt_t Parser::fail_limit(Diagnostic problem, std::size_t offset) {
  return fail(std::move(problem), code_point_start(text_, offset));
}

std::nullopt_t Parser::fail_role(std::size_t begin, std::string_view word) {
  const std::size_t letters = static_cast<std::size_t>(
      std::find_if(word.begin(), word.end(), [](char c) { return c < 'a' || c > 'z'; }) - word.begin());
  const std::string_view known = word.substr(0, letters);
  std::string message = concat("unknown role `", escape_for_log(word, kShownWord), '`');
  if (word.empty()) message = concat("no role directly after `", kBlockOpen, '`');
  if (find_role(known) && known != role_name(Role::kInst))
    message = concat("role `", known, "` is not followed by a newline, a space or `", kBlockClose, '`');
  Diagnostic problem("E0302", std::move(message));
  const std::string similar = word.size() <= kShownWord ? find_similar_name(word, kBlockRoles) : std::string();
  if (!similar.empty() && similar != word) problem.help(concat("a role with a similar name exists: `", similar, '`'));
  problem.note("roles: " + join_words(kBlockRoles, " "));
  return fail(std::move(problem), begin + kBlockOpen.size(), word.size());
}

std::optional<Head> Parser::parse_head(std::size_t begin) {
  const std::size_t word_begin = begin + kBlockOpen.size();
  std::size_t end = word_begin;
  while (end < text_.size() && end - begin < kHeadBytes && !is_blockml_space(text_[end]) && !at_mark(end)) ++end;
  const std::string_view word = text_.substr(word_begin, end - word_begin);
  if (word.empty() && (end == text_.size() || at(end, kBlockOpen))) return fail_unclosed(begin, next_mark(end));
  const std::optional<Role> role = find_role(word);
  if (!role || *role == Role::kInst || byte_at(end) == '\t') return fail_role(begin, word);
  const Head head{*role, LengthHint::kNone, end};
  const std::size_t paren = std::min(text_.find_first_not_of(' ', end), text_.size());
  if (paren == end || !equals_folded(text_.substr(paren, 7), "(length")) return head;
  return parse_hint(begin, head, paren);
}

std::optional<Head> Parser::parse_hint(std::size_t begin, Head head, std::size_t paren) {
  constexpr std::string_view kExact = " (length: ";
  if (paren - begin >= kHeadBytes)
    return fail_limit(too_large("the head is longer than 256 bytes"), begin + kHeadBytes);
  if (head.role != Role::kMessage) {
    return fail(Diagnostic("E0303", concat("a block `", role_name(head.role), "` has no length"))
                    .note("only `message` takes a length")
                    .help("delete it"),
                paren, 7);
  }
  const std::size_t word_begin = head.end + kExact.size();
  // Far enough for any head within the limit: a longer word is unknown whatever follows.
  const std::string_view rest = text_.substr(std::min(word_begin, text_.size()), kHeadBytes);
  const std::string_view word = rest.substr(0, rest.find_first_of(") \t\n"));
  const std::size_t after = word_begin + word.size() + 1;
  const bool closed = byte_at(word_begin + word.size()) == ')';
  const bool ended = after >= text_.size() || text_[after] == '\n' || text_[after] == ' ' || at_mark(after);
  const bool unending = word.size() == rest.size() && rest.size() == kHeadBytes;
  if (!at(head.end, kExact) || word.empty() || !(unending || (closed && ended)) || word.find(kBlockOpen) != kNone ||
      word.find(kBlockClose) != kNone) {
    return fail(Diagnostic("E0303", "a length is written ` (length: WORD)`, exactly so")
                    .note(length_list())
                    .help("write ` (length: medium)` after `message`, or delete it"),
                paren, 7);
  }
  head.hint = find_length(word);
  if (head.hint == LengthHint::kNone) {
    Diagnostic problem("E0303", concat("unknown length `", escape_for_log(word, kShownWord), '`'));
    const std::string similar = word.size() <= kShownWord ? find_similar_name(word, kLengthWords) : std::string();
    if (!similar.empty()) problem.help(concat("a length with a similar name exists: `", similar, '`'));
    return fail(problem.note(length_list()), word_begin, word.size());
  }
  head.end = after;
  return head;
}

std::nullopt_t Parser::fail_unclosed(std::size_t begin, std::size_t mark) {
  const std::string close = concat('`', kBlockClose, '`');
  Diagnostic problem("E0301", "block opened here is not closed");
  if (mark == kNone) {
    problem.note("the text ends before " + close).help(concat("add ", close, " at the end of the block"));
  } else {
    TextCursor next = cursor_;
    next.move_to(mark);
    problem.note(concat("next `", kBlockOpen, "` at ", position_text(source_, next)));
    problem.help(concat("add ", close, " before ",
                        next.column() == 1 ? concat("line ", next.line()) : position_text(source_, next)));
  }
  return fail(std::move(problem), begin, kBlockOpen.size());
}

// The first character after the head decides: a newline, or a space before a one-line body (or before the newline).
std::size_t Parser::skip_to_body(std::size_t head_end) {
  if (byte_at(head_end) == '\n') return head_end + 1;
  if (byte_at(head_end) != ' ') return head_end;
  const std::size_t next = text_.find_first_not_of(' ', head_end);
  if (next != kNone && text_[next] == '\n') {
    count(Variant::kHeadSpaces, head_end);
    return next + 1;
  }
  count(Variant::kOneLine, head_end);
  return head_end + 1;
}

std::string_view Parser::take_body(std::string_view raw) {
  const std::string_view body = trim_blockml(raw);
  if (body.size() != raw.size()) count(Variant::kTrimmed, static_cast<std::size_t>(raw.data() - text_.data()));
  return body;
}

bool Parser::check_special_tokens(std::size_t begin, std::size_t end) {
  if (special_reported_) return true;
  const std::size_t first = find_special_token(text_.substr(0, end), begin);
  if (first == kNone) return true;
  special_reported_ = true;
  fail(special_token_problem(text_, first), first, special_token_size(text_.substr(first)));
  return false;
}

std::optional<std::size_t> Parser::finish_segment(const Head& head, std::string_view body, std::size_t begin,
                                                  std::size_t end) {
  if (!check_special_tokens(begin, end)) return std::nullopt;
  document_.segments.push_back({head.role, head.hint, std::string(body), cursor_.line(), cursor_.column(), begin, end});
  return end;
}

std::optional<std::size_t> Parser::parse_block(std::size_t begin) {
  const std::optional<Head> head = parse_head(begin);
  if (!head) return std::nullopt;
  const std::size_t body_begin = skip_to_body(head->end);
  const std::size_t mark = next_mark(body_begin);
  const bool closed = mark != kNone && at(mark, kBlockClose);
  const std::size_t end = std::min(mark, text_.size()) + (closed ? kBlockClose.size() : 0);
  if (end - begin > kBlockBytes) return fail_limit(segment_too_large(head->role), begin + kBlockBytes);
  if (!closed) return fail_unclosed(begin, mark);
  const std::string_view body = take_body(text_.substr(body_begin, mark - body_begin));
  if (body.empty()) {
    return fail(Diagnostic("E0311", concat("block `", role_name(head->role), "` is empty"))
                    .help("write its text, or delete the block"),
                begin, kBlockOpen.size());
  }
  return finish_segment(*head, body, begin, end);
}

std::optional<std::size_t> Parser::parse_inst(std::size_t begin) {
  const std::size_t inner_begin = begin + kInstOpen.size();
  const std::size_t limit = std::min(next_mark(inner_begin), text_.size());
  const std::size_t close = next_inst_close(inner_begin);
  const std::size_t end = close < limit ? close + kInstClose.size() : limit;
  if (end - begin > kBlockBytes) return fail_limit(segment_too_large(Role::kInst), begin + kBlockBytes);
  if (close >= limit) {
    return fail(Diagnostic("E0316", "`[INST]` is not closed before the next block or the end").help("add `[/INST]`"),
                begin, kInstOpen.size());
  }
  std::string_view inner = text_.substr(inner_begin, close - inner_begin);
  if (trim_blockml(inner).empty()) {
    return fail(Diagnostic("E0311", "`[INST]` is empty").help("write its text, or delete it"), begin, kInstOpen.size());
  }
  const bool spaced = inner.front() == ' ' && inner.back() == ' ';
  if (!spaced) count(Variant::kInstSpaces, begin);
  if (inner.front() == ' ') inner.remove_prefix(1);
  if (inner.back() == ' ') inner.remove_suffix(1);
  return finish_segment({Role::kInst, LengthHint::kNone, 0}, take_body(inner), begin, end);
}

std::nullopt_t Parser::fail_outside(std::size_t begin) {
  if (at(begin, kInstClose)) {
    return fail(
        Diagnostic("E0316", "`[/INST]` without `[INST]`").help("add `[INST]` before the instruction, or delete it"),
        begin, kInstClose.size());
  }
  const std::string what = at(begin, kBlockClose) ? concat('`', kBlockClose, '`') : std::string("text");
  return fail(Diagnostic("E0310", what + " outside a block")
                  .note("between blocks there may only be `[INST] ... [/INST]`")
                  .help("put it in a block, or delete it"),
              begin);
}

std::optional<std::size_t> Parser::parse_segment(std::size_t begin) {
  cursor_.move_to(begin);
  if (at(begin, kBlockOpen)) return parse_block(begin);
  if (at(begin, kInstOpen)) return parse_inst(begin);
  return fail_outside(begin);
}

std::optional<BlockmlDocument> Parser::run() {
  std::size_t gap = 0;  // where white space in front of the next segment begins
  for (std::size_t parsed = 0;; ++parsed) {
    const std::size_t begin = std::min(text_.find_first_not_of(" \t\n", gap), text_.size());
    if (text_.substr(gap, begin - gap) != (gap == 0 ? "" : "\n")) count(Variant::kSeparator, gap);
    if (begin == text_.size()) break;
    if (parsed == kSegmentLimit) {
      cursor_.move_to(begin);
      fail_limit(too_large("the conversation has more than 1,000,000 segments"), begin);
      break;
    }
    const std::optional<std::size_t> end = parse_segment(begin);
    gap = end ? *end : resume_after(failed_at_);
  }
  const bool has_message = std::any_of(document_.segments.begin(), document_.segments.end(),
                                       [](const Segment& segment) { return segment.role == Role::kMessage; });
  if (!has_message && !failed_) {
    cursor_ = TextCursor(text_);
    fail(Diagnostic("E0306", "the conversation has no `message` block")
             .help("every conversation needs one; a text without any is `type: completion`"),
         0);
  }
  if (failed_) return std::nullopt;
  return std::move(document_);
}

}  // namespace

std::optional<BlockmlDocument> parse_blockml(std::string_view text, const TextSource& source,
                                             Diagnostics& diagnostics) {
  if (!check_text(text, source, diagnostics)) return std::nullopt;
  return Parser(text, source, diagnostics).run();
}

}  // namespace shori
