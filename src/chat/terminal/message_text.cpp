#include "src/chat/terminal/message_text.h"

#include <algorithm>

#include "shori/chat/run_chat.h"
#include "shori/data/lint.h"
#include "shori/data/plain_text.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁, which the tokenizer takes for a space

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

bool is_control(char c) {
  const unsigned char byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F;
}

void report_odd(std::span<const Segment> segments, const std::string& path) {
  if (segments.empty()) log_info(concat(quoted_path(path), " is empty: the chat begins with nothing"));
  const auto message = std::ranges::find(segments, Role::kMessage, &Segment::role);
  if (std::ranges::find(message, segments.end(), Role::kTitle, &Segment::role) != segments.end())
    log_info(concat(quoted_path(path), " holds another title after a message: two conversations are taken for one"));
}

Diagnostic without_location(Diagnostic problem) {
  problem.location = {};
  return problem;
}

}  // namespace

std::optional<Diagnostic> find_message_problem(const std::string& body) {
  if (trim_blockml(body).empty()) return Diagnostic("E0311", "the message is empty");
  for (const std::string_view mark : {kBlockOpen, kBlockClose})
    if (body.find(mark) != std::string::npos)
      return Diagnostic("E0302", concat("a message cannot hold `", mark, "`, which begins or ends a block"))
          .help("leave it out");
  Diagnostics diagnostics;
  const auto document = parse_blockml(render_segment({.body = body}), {}, diagnostics);
  if (diagnostics.has_errors()) return without_location(diagnostics.all().front());
  LintOptions errors;
  errors.errors_only = true;
  const auto findings = lint_document(*document, {}, errors);
  if (findings.empty()) return std::nullopt;
  return Diagnostic("E0319", findings.front().message);
}

bool is_character_name(std::string_view name) {
  const std::string body = concat(name, ": x");
  return find_speaker(body) && body.find(':') == name.size() && !find_message_problem(body);
}

std::string without_c1(std::string_view text) {
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    if (point.value < 0x80 || point.value >= 0xA0) kept += text.substr(at, point.bytes);
    at += point.bytes;
  }
  return kept;
}

std::string cleaned_body(std::string body) {
  body = without_c1(body);
  std::erase_if(body, is_control);
  replace_all(body, kSpaceMark, " ");
  // Taking one out may join two halves of another.
  for (std::string before; before != body;) {
    before = body;
    for (const std::string_view mark :
         {kBlockOpen, kBlockClose, std::string_view("<s>"), std::string_view("</s>"), std::string_view("<unk>"),
          std::string_view("[INST]"), std::string_view("[/INST]")})
      replace_all(body, mark, "");
  }
  return std::string(trim_blockml(body));
}

std::string joined_body(const std::string& opening, const std::string& text) {
  const bool needs_space = opening.ends_with(':') && !text.empty() && !is_space(text.front());
  return std::string(trim_blockml(concat(opening, needs_space ? " " : "", text)));
}

std::string without_opening(const std::string& typed, const std::string& opening) {
  if (opening.empty() || !typed.starts_with(opening)) return typed;
  return std::string(trim_blockml(std::string_view(typed).substr(opening.size())));
}

std::string from_line(std::string_view line) {
  std::string text = without_c1(line);
  replace_all(text, "\\n", "\n");
  return std::string(trim_blockml(text));
}

std::string to_line(std::string_view text) {
  std::string line(text);
  replace_all(line, "\n", "\\n");
  return line;
}

std::vector<Segment> read_conversation(const std::string& path) {
  if (!leads_to_something(path)) throw Error(Diagnostic("E0108", quoted_path(path) + " does not exist"));
  const std::string text = plain_text(read_whole_file(InputFile::open(path), kConversationBytes, "E0317"), path);
  // A conversation has a message; this one may have none yet.
  Segment message;
  message.body = "x";
  Diagnostics diagnostics;
  auto document = parse_blockml(concat(text, text.ends_with('\n') || text.empty() ? "" : "\n", render_segment(message)),
                                {path}, diagnostics);
  diagnostics.throw_if_errors();
  document->segments.pop_back();
  report_odd(document->segments, path);
  return std::move(document->segments);
}

}  // namespace shori
