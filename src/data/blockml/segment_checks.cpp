#include "src/data/blockml/segment_checks.h"

#include <utility>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kSpecialTokens[] = {"<s>", "</s>", "<unk>"};

}  // namespace

std::size_t special_token_size(std::string_view text) {
  for (const std::string_view token : kSpecialTokens) {
    if (text.starts_with(token)) return token.size();
  }
  return 0;
}

std::size_t find_special_token(std::string_view text, std::size_t from) {
  std::size_t at = text.find('<', from);
  while (at != std::string_view::npos && special_token_size(text.substr(at)) == 0) at = text.find('<', at + 1);
  return at;
}

Diagnostic special_token_problem(std::string_view text, std::size_t offset) {
  std::size_t total = 0;
  for (std::size_t at = offset; at != std::string_view::npos; at = find_special_token(text, at + 1)) ++total;
  const std::string_view token = text.substr(offset, special_token_size(text.substr(offset)));
  return Diagnostic("E0308", concat("the text `", token, "` is not a special token"))
      .note(concat("`<s>`, `</s>`, `<unk>` in this text: ", total))
      .note(
          "SentencePiece reads them as plain text, other tokenizers as control ids; the program adds BOS and EOS itself")
      .help("delete it");
}

Diagnostic too_large(std::string message) { return Diagnostic("E0317", std::move(message)).help("split the file"); }

Diagnostic segment_too_large(Role role) {
  return too_large(concat("the ", role == Role::kInst ? "[INST]" : "block", " is larger than 1 MiB"));
}

std::optional<Diagnostic> check_segment(const Segment& segment, const std::string& file) {
  Diagnostics problems;
  // A byte order mark is wrong at the start of a file only; at the start of a segment it is a character like others.
  std::string_view body = segment.body;
  while (body.starts_with(kByteOrderMark)) body.remove_prefix(kByteOrderMark.size());
  if (!check_text(body, {file, 0}, problems)) return problems.all().front();
  const std::size_t newline = 1;  // after the segment, and no part of it
  if (render_segment(segment).size() - newline > kBlockBytes) return segment_too_large(segment.role);
  const std::size_t special = find_special_token(segment.body, 0);
  if (special == std::string_view::npos) return std::nullopt;
  return special_token_problem(segment.body, special);
}

}  // namespace shori
