#include "src/export/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁

struct Merge {
  std::string_view left, right;
  std::int32_t left_id = 0, right_id = 0;
  float score = 0;
};

using Ids = std::unordered_map<std::string_view, std::int32_t>;

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

void append_splits(const TokenizerPiece& piece, const Ids& ids, std::vector<Merge>& merges) {
  const std::string_view text = piece.text;
  const auto first = std::ssize(merges);
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (is_continuation(text[at])) continue;
    const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
    if (left == ids.end() || right == ids.end()) continue;
    merges.push_back({left->first, right->first, left->second, right->second, piece.score});
  }
  std::sort(merges.begin() + first, merges.end(), [](const Merge& a, const Merge& b) {
    return a.left_id != b.left_id ? a.left_id < b.left_id : a.right_id < b.right_id;
  });
}

std::vector<Merge> merges_of(const TokenizerModel& model) {
  Ids ids;
  for (std::size_t id = 0; id < model.pieces.size(); ++id)
    ids.emplace(model.pieces[id].text, static_cast<std::int32_t>(id));
  std::vector<Merge> merges;
  for (const TokenizerPiece& piece : model.pieces) append_splits(piece, ids, merges);
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) { return a.score > b.score; });
  return merges;
}

// Texts that are never split: unknown, control and user-defined pieces.
std::string added_tokens(const TokenizerModel& model) {
  std::string text;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const TokenizerPiece& piece = model.pieces[id];
    const bool special = piece.type == PieceType::kUnknown || piece.type == PieceType::kControl;
    if (!special && piece.type != PieceType::kUserDefined) continue;
    text +=
        concat(text.empty() ? "" : ",", "\n    {\"id\": ", id, ", \"content\": ", json_quote(piece.text),
               ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": ",
               special ? "true" : "false", "}");
  }
  return text;
}

// The parts that need no vocabulary.
std::string pipeline(const std::string& bos, std::int32_t bos_id) {
  const std::string quoted = json_quote(bos), mark = json_quote(kSpaceMark);
  const std::string begin = concat("{\"SpecialToken\": {\"id\": ", quoted, ", \"type_id\": ");
  return concat(
      "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [\n    {\"type\": \"Prepend\", \"prepend\": ", mark,
      "},\n    {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": ", mark,
      "}]},\n  \"pre_tokenizer\": null,\n  \"post_processor\": {\"type\": \"TemplateProcessing\",\n    \"single\": [",
      begin, "0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n    \"pair\": [", begin,
      "0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ", begin,
      "1}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n    \"special_tokens\": {", quoted,
      ": {\"id\": ", quoted, ", \"ids\": [", bos_id, "], \"tokens\": [", quoted,
      "]}}},\n  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [\n    {\"type\": \"Replace\", \"pattern\": "
      "{\"String\": ",
      mark,
      "}, \"content\": \" \"},\n    {\"type\": \"ByteFallback\"},\n    {\"type\": \"Fuse\"},\n    {\"type\": \"Strip\", "
      "\"content\": \" \", \"start\": 1, \"stop\": 0}]},\n");
}

std::string vocabulary(const TokenizerModel& model) {
  std::string text;
  for (std::size_t id = 0; id < model.pieces.size(); ++id)
    text += concat(id == 0 ? "" : ",", "\n      ", json_quote(model.pieces[id].text), ": ", id);
  return text;
}

std::string merge_list(const TokenizerModel& model) {
  std::string text;
  for (const Merge& merge : merges_of(model))
    text += concat(text.empty() ? "" : ",", "\n      ", json_quote(concat(merge.left, " ", merge.right)));
  return text;
}

bool is_prepend(const JsonValue& normalizer) {
  const JsonValue *type = normalizer.find("type"), *prepended = normalizer.find("prepend");
  return type != nullptr && type->text == "Prepend" && prepended != nullptr && prepended->text == kSpaceMark;
}

}  // namespace

std::string tokenizer_json(const TokenizerModel& model) {
  const std::string& bos = model.pieces[static_cast<std::size_t>(model.bos_id)].text;
  return concat(
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [",
      added_tokens(model), "\n  ],\n", pipeline(bos, model.bos_id),
      "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ",
      json_quote(model.pieces[static_cast<std::size_t>(model.unk_id)].text),
      ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": true,\n"
      "    \"byte_fallback\": true,\n    \"vocab\": {",
      vocabulary(model), "\n    },\n    \"merges\": [", merge_list(model), "\n    ]\n  }\n}\n");
}

bool prepends_after_special(std::string_view tokenizer_json) {
  JsonProblem problem;
  const auto root = parse_json(tokenizer_json, {256u << 20, 16, 20'000'000}, problem);
  const JsonValue* normalizer = root ? root->find("normalizer") : nullptr;
  if (normalizer == nullptr) return false;
  const JsonValue* parts = normalizer->find("normalizers");
  return is_prepend(*normalizer) || (parts != nullptr && std::ranges::any_of(parts->items, is_prepend));
}

}  // namespace shori
