// BlockML-like text. Foreign spellings are rewritten without changing the lines, so that the positions in the parser's
// messages are right; then inline out-of-character talk is moved out of the messages.
#include "shori/util/text.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::string_view kOocOpen = "(ooc:";
constexpr std::string_view kInstOpen = "[INST]";
constexpr std::string_view kInstClose = "[/INST]";
constexpr std::string_view kSpace = " \t\n";
constexpr std::array<std::string_view, 3> kOlderLengths = {"humongous", "extreme", "unlimited"};

// One of the nine words for a word of any case and of older lists; empty if it is none.
std::string length_word(std::string_view word) {
  const std::string folded = lower_ascii(word);
  for (std::size_t i = 1; i <= static_cast<std::size_t>(LengthHint::kEnormous); ++i) {
    if (folded == length_name(static_cast<LengthHint>(i))) return folded;
  }
  const bool older = std::find(kOlderLengths.begin(), kOlderLengths.end(), folded) != kOlderLengths.end();
  return older ? std::string(length_name(LengthHint::kEnormous)) : std::string();
}

std::size_t skip(std::string_view text, std::size_t from, std::string_view set) {
  return std::min(text.find_first_not_of(set, from), text.size());
}

// A hint in any spelling directly after `▀message`: its end and its word.
struct FoundHint {
  std::size_t end;
  std::string word;
};
std::optional<FoundHint> read_hint(std::string_view text, std::size_t from) {
  constexpr std::string_view kLength = "length";
  std::size_t at = skip(text, from, " ");
  if (at == text.size() || text[at] != '(') return std::nullopt;
  at = skip(text, at + 1, " ");
  if (lower_ascii(text.substr(at, kLength.size())) != kLength) return std::nullopt;
  at = skip(text, at + kLength.size(), " ");
  if (at == text.size() || (text[at] != ':' && text[at] != '=')) return std::nullopt;
  at = skip(text, at + 1, " ");
  const std::size_t end = std::min(text.find_first_of(" )\n", at), text.size());
  const std::string word = length_word(text.substr(at, std::min<std::size_t>(end - at, 16)));
  const std::size_t close = skip(text, end, " ");
  if (word.empty() || close == text.size() || text[close] != ')') return std::nullopt;
  return FoundHint{close + 1, word};
}

// One past the parenthesis that closes the one at `begin`; npos if none does.
std::size_t matching_close(std::string_view text, std::size_t begin) {
  std::size_t depth = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth == 0) return i + 1;
  }
  return std::string_view::npos;
}

std::optional<TextSpan> find_ooc(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find('(', from); at != std::string_view::npos; at = text.find('(', at + 1)) {
    if (lower_ascii(text.substr(at, kOocOpen.size())) != kOocOpen) continue;
    const std::size_t end = matching_close(text, at);
    // What is never closed holds all that follows.
    if (end == std::string_view::npos) return std::nullopt;
    return TextSpan{at, end};
  }
  return std::nullopt;
}

std::string_view ooc_text(std::string_view text, const TextSpan& span) {
  return trim_blockml(text.substr(span.begin + kOocOpen.size(), span.end - 1 - span.begin - kOocOpen.size()));
}

// Searches for one word from offsets that only grow, so that no byte is read twice.
class ForwardSearch {
 public:
  ForwardSearch(std::string_view text, std::string_view word) : text_(text), word_(word), found_(text.find(word)) {}
  // The first at or after `from`; the size of the text if there is none.
  std::size_t at_or_after(std::size_t from) {
    if (found_ != std::string_view::npos && found_ < from) found_ = text_.find(word_, from);
    return std::min(found_, text_.size());
  }

 private:
  std::string_view text_, word_;
  std::size_t found_;
};

// Rewrites a text outside and at the heads of blocks.
class TextRewriter {
 public:
  TextRewriter(std::string_view text, ChangeCounts& changes)
      : text_(text),
        changes_(changes),
        opens_(text, kBlockOpen),
        closes_(text, kBlockClose),
        inst_opens_(text, kInstOpen),
        inst_closes_(text, kInstClose) {}

  std::string run() {
    while (at_ < text_.size()) {
      const std::string_view rest = text_.substr(at_);
      if (rest.starts_with(kBlockOpen))
        rewrite_block();
      else if (rest.starts_with(kInstOpen))
        rewrite_instruction();
      else
        rewrite_between();
    }
    return std::move(out_);
  }

 private:
  void copy_to(std::size_t end) {
    out_.append(text_.substr(at_, end - at_));
    at_ = end;
  }
  // Leaves the text out, but for its line ends.
  void drop_to(std::size_t end, std::string_view kind) {
    const std::string_view dropped = text_.substr(at_, end - at_);
    out_.append(static_cast<std::size_t>(std::count(dropped.begin(), dropped.end(), '\n')), '\n');
    at_ = end;
    count_change(changes_, kind);
  }

  void rewrite_block() {
    constexpr std::string_view kMessage = "message";
    const std::size_t word = at_ + kBlockOpen.size();
    std::size_t head = word;
    while (head < text_.size() && text_[head] >= 'a' && text_[head] <= 'z') ++head;
    const std::string_view role = text_.substr(word, head - word);
    std::optional<FoundHint> hint;
    if (role == kMessage) hint = read_hint(text_, head);
    const std::size_t body = hint ? hint->end : head;
    const std::size_t inside = skip(text_, body, kSpace);
    const bool known = find_role(role).has_value();
    if (known && text_.substr(inside).starts_with(kBlockClose))
      return drop_to(inside + kBlockClose.size(), "empty texts dropped");
    copy_to(head);
    if (hint) {
      const std::string canonical = " (length: " + hint->word + ')';
      if (text_.substr(head, hint->end - head) != canonical) count_change(changes_, "length hints rewritten");
      out_ += canonical;
      at_ = hint->end;
    }
    // To the end of the block; the parser reports its problems.
    const std::size_t close = closes_.at_or_after(at_), next = opens_.at_or_after(std::max(at_, word));
    copy_to(close < next ? close + kBlockClose.size() : next);
  }

  void rewrite_instruction() {
    const std::size_t close = inst_closes_.at_or_after(at_), block = opens_.at_or_after(at_);
    if (close >= block) return copy_to(block);
    const std::size_t end = close + kInstClose.size();
    if (skip(text_, at_ + kInstOpen.size(), kSpace) == close) return drop_to(end, "empty texts dropped");
    copy_to(end);
  }

  void rewrite_between() {
    const std::size_t end = std::min(opens_.at_or_after(at_ + 1), inst_opens_.at_or_after(at_ + 1));
    const std::string_view between = text_.substr(0, end);
    while (const std::optional<TextSpan> ooc = find_ooc(between, at_)) {
      copy_to(ooc->begin);
      const std::string_view text = ooc_text(between, *ooc);
      if (text.empty()) {
        drop_to(ooc->end, "empty texts dropped");
        continue;
      }
      out_.append(kBlockOpen).append("ooc ").append(text).append(kBlockClose);
      at_ = ooc->end;
      count_change(changes_, "(OOC: …) made ▀ooc");
    }
    copy_to(end);
  }

  std::string_view text_;
  ChangeCounts& changes_;
  ForwardSearch opens_, closes_, inst_opens_, inst_closes_;
  std::string out_;
  std::size_t at_ = 0;
};

// Every (OOC: …) of a message becomes a block after it.
void lift_ooc(Segment message, ConversationBuilder& builder, ChangeCounts& changes) {
  std::optional<TextSpan> ooc = find_ooc(message.body, 0);
  if (!ooc) return builder.add_segment(std::move(message));
  const std::optional<Speaker> speaker = find_speaker(message.body);
  const std::string name = speaker ? std::string(speaker->name) + ':' : std::string();
  std::vector<Segment> lifted;
  std::vector<TextSpan> spans;
  while (ooc) {
    Segment block;
    block.role = Role::kOoc;
    block.body = ooc_text(message.body, *ooc);
    count_change(changes, block.body.empty() ? "empty texts dropped" : "(OOC: …) made ▀ooc");
    if (!block.body.empty()) lifted.push_back(std::move(block));
    spans.push_back(*ooc);
    ooc = find_ooc(message.body, ooc->end);
  }
  message.body = without_spans(message.body, spans);
  if (message.body.empty() || message.body == name)
    count_change(changes, "messages of nothing but (OOC: …) dropped");
  else
    builder.add_segment(std::move(message));
  for (Segment& block : lifted) builder.add_segment(std::move(block));
}

void count_variants(const VariantCounts& variants, ChangeCounts& changes) {
  for (std::size_t i = 0; i < kVariantCount; ++i) {
    if (variants[i] > 0)
      count_change(changes, "form: " + std::string(variant_name(static_cast<Variant>(i))), variants[i]);
  }
}

std::string rewrite(std::string_view text, ChangeCounts& changes) {
  const std::string cleaned = clean_characters(text, changes);
  return TextRewriter(cleaned, changes).run();
}

bool is_readable(std::string_view text, ImportFile& file) {
  const std::size_t bad = find_invalid_utf8(text).value_or(text.size()), nul = text.find('\0');
  if (bad == text.size() && nul == std::string_view::npos) return true;
  const std::size_t at = std::min(bad, nul);
  const std::string what = nul < bad ? "control character U+0000" : "a byte that is not UTF-8";
  file.diagnostics.add(problem_at("E0304", what, text.substr(0, bad), TextSource{file.path, 0}, at)
                           .help(nul < bad ? control_command(file.path) : utf8_command(file.path, text)));
  return false;
}

}  // namespace

std::optional<std::string> read_text(ImportFile& file, std::string_view what) {
  if (file.input.size() > kConversationBytes) {
    file.diagnostics.add(
        Diagnostic("E0317", concat(what, " is larger than 64 MiB")).at(file.path).help("split the file"));
    return std::nullopt;
  }
  std::string text;
  TextStream stream(file.input);
  stream.read_all(text);
  count_text_changes(file.report.changes, stream.changes());
  return is_readable(text, file) ? std::optional(std::move(text)) : std::nullopt;
}

void import_text(ImportFile& file) {
  const std::optional<std::string> source = read_text(file, "the conversation");
  if (!source) return;
  ChangeCounts& changes = file.report.changes;
  Diagnostics problems;
  std::optional<BlockmlDocument> document =
      parse_blockml(rewrite(*source, changes), TextSource{file.path, 0}, problems);
  if (problems.all().size() == 1 && problems.all().front().code == "E0306") return file.accept({});
  for (const Diagnostic& problem : problems.all()) file.diagnostics.add(problem);
  if (!document) return;
  count_variants(document->variants, changes);
  ConversationBuilder builder(file.options, file.report);
  for (Segment& segment : document->segments) {
    if (file.options.limarp_clean) segment.body = limarp_clean(segment.body, changes);
    if (segment.role == Role::kMessage)
      lift_ooc(std::move(segment), builder, changes);
    else
      builder.add_segment(std::move(segment));
  }
  ImportedConversation conversation;
  conversation.key = key_of(*source);
  builder.finish(conversation);
  file.accept(std::move(conversation));
}

}  // namespace shori
