#include "src/data/tokens/special_pieces.h"

#include <algorithm>

namespace shori {

SpecialPieces::SpecialPieces(const TokenizerModel& model) {
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    if (type != PieceType::kControl || text == "<s>" || text == "</s>" || text == "<unk>") continue;
    if (text == "[INST]" || text == "[/INST]") {
      marks_.emplace(text, static_cast<std::int32_t>(id));
      continue;
    }
    others_.insert(text);
    other_sizes_.insert(text.size());
    if (first_bytes_.find(text.front()) == std::string::npos) first_bytes_ += text.front();
  }
}

std::optional<SpecialPieces::Mark> SpecialPieces::find_mark(std::string_view text, std::size_t from) const {
  std::optional<Mark> first;
  for (const auto& [mark, id] : marks_) {
    const std::size_t at = text.find(mark, from);
    if (at != std::string_view::npos && (!first || at < first->at)) first = Mark{at, mark.size(), id};
  }
  return first;
}

bool SpecialPieces::is_mark(std::int32_t id) const {
  return std::any_of(marks_.begin(), marks_.end(), [id](const auto& mark) { return mark.second == id; });
}

std::optional<std::pair<std::size_t, std::string_view>> SpecialPieces::find_control_text(std::string_view text) const {
  if (others_.empty()) return std::nullopt;
  for (std::size_t at = text.find_first_of(first_bytes_); at != std::string_view::npos;
       at = text.find_first_of(first_bytes_, at + 1)) {
    for (const std::size_t size : other_sizes_) {
      const std::string_view piece = text.substr(at, size);
      if (others_.contains(piece)) return std::pair(at, piece);
    }
  }
  return std::nullopt;
}

}  // namespace shori
