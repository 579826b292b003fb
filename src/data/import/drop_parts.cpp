// What a chat holds besides its story: thinking, pictures, status blocks, the speaker's name once more.
#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, 4> kThinkTags = {"think", "thinking", "thought", "reasoning"};

std::size_t find_close(std::string_view lower, std::string_view tag, std::size_t from) {
  const std::size_t at = lower.find(concat("</", tag, ">"), from);
  return at == std::string_view::npos ? at : at + tag.size() + 3;
}

// From `<tag>` to `</tag>`. A close without an open ends what a template opened in the prompt.
std::vector<TextSpan> find_thinking(std::string_view text, ImportReport& report) {
  const std::string lower = lower_ascii(text);
  for (const std::string_view tag : kThinkTags) {
    const std::string open = concat('<', tag, '>');
    std::vector<TextSpan> spans;
    std::size_t at = lower.find(open);
    const std::size_t close = find_close(lower, tag, 0);
    if (close < at && close != std::string::npos) {
      spans.push_back({0, close});
      at = lower.find(open, close);
    }
    while (at != std::string::npos) {
      const std::size_t end = find_close(lower, tag, at);
      if (end == std::string::npos) count_change(report.changes, concat("<", tag, "> that is never closed, kept"));
      if (end == std::string::npos) break;
      spans.push_back({at, end});
      at = lower.find(open, end);
    }
    if (!spans.empty()) return spans;
  }
  return {};
}

std::size_t picture_end(std::string_view text, std::size_t at) {
  const std::string_view line = text.substr(0, text.find('\n', at));
  if (line.substr(at).starts_with("![")) {
    const std::size_t middle = line.find("](", at);
    const std::size_t end = middle == std::string_view::npos ? middle : line.find(')', middle);
    return end == std::string_view::npos ? end : end + 1;
  }
  if (lower_ascii(line.substr(at, 5)) != "<img ") return std::string_view::npos;
  const std::size_t end = line.find('>', at);
  return end == std::string_view::npos ? end : end + 1;
}

std::vector<TextSpan> find_pictures(std::string_view text) {
  std::vector<TextSpan> spans;
  for (std::size_t at = text.find_first_of("!<"); at != std::string_view::npos; at = text.find_first_of("!<", at)) {
    const std::size_t end = picture_end(text, at);
    if (end == std::string_view::npos) {
      ++at;
      continue;
    }
    spans.push_back({at, end});
    at = end;
  }
  return spans;
}

std::vector<TextSpan> find_between(std::string_view text, std::string_view open, std::string_view close) {
  std::vector<TextSpan> spans;
  for (std::size_t at = text.find(open); at != std::string_view::npos;) {
    const std::size_t end = text.find(close, at + open.size());
    if (end == std::string_view::npos) break;
    spans.push_back({at, end + close.size()});
    at = text.find(open, end + close.size());
  }
  return spans;
}

std::size_t skip(std::string_view text, std::size_t from, std::string_view set) {
  return std::min(text.find_first_not_of(set, from), text.size());
}

// Appends the text after a removed span to the text before it, without the white space that only the span needed.
void append_after_span(std::string& kept, std::string_view right) {
  if (right.empty()) return;
  const bool spaced = kept.ends_with(' ');
  while (kept.ends_with(' ') || kept.ends_with('\t')) kept.pop_back();
  const bool new_line = kept.empty() || kept.ends_with('\n');
  if (new_line) {
    right.remove_prefix(skip(right, 0, " \t"));
    if (!kept.empty() && right.starts_with('\n')) right.remove_prefix(1);
  } else if (spaced && std::string_view(" \t\n").find(right.front()) == std::string_view::npos) {
    kept.push_back(' ');
  }
  kept.append(right);
}

}  // namespace

std::string without_spans(std::string_view text, const std::vector<TextSpan>& spans) {
  if (spans.empty()) return std::string(text);
  std::string kept(text.substr(0, spans.front().begin));
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const std::size_t next = i + 1 < spans.size() ? spans[i + 1].begin : text.size();
    append_after_span(kept, text.substr(spans[i].end, next - spans[i].end));
  }
  return std::string(trim_blockml(kept));
}

std::string drop_parts(std::string_view text, const ImportOptions& options, ImportReport& report) {
  std::string result(text);
  const auto apply = [&](KeepOrDrop choice, const std::vector<TextSpan>& spans, std::string_view what) {
    if (spans.empty()) return;
    count_change(report.changes, concat(what, choice == KeepOrDrop::kDrop ? " left out" : " kept"), spans.size());
    if (choice == KeepOrDrop::kDrop) result = without_spans(result, spans);
  };
  if (text.find('<') != std::string_view::npos) apply(options.thinking, find_thinking(result, report), "<think> parts");
  if (text.find_first_of("!<") != std::string_view::npos) apply(options.pictures, find_pictures(result), "pictures");
  if (options.status == KeepOrDrop::kDrop) {
    apply(options.status, find_between(result, "```", "```"), "status blocks (```)");
    apply(options.status, find_between(result, "<details", "</details>"), "status blocks (<details>)");
  }
  return result;
}

std::string_view without_own_name(std::string_view text, std::string_view speaker, std::size_t& times) {
  while (!speaker.empty() && text.starts_with(speaker) && text.substr(speaker.size()).starts_with(':')) {
    const std::string_view rest = text.substr(speaker.size() + 1);
    if (!rest.empty() && !is_blockml_space(rest.front()) && rest.front() != '"' && rest.front() != '*') break;
    text = trim_blockml(rest);
    ++times;
  }
  return text;
}

}  // namespace shori
