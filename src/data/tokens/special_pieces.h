// Control pieces whose text can stand in a document.
//
// SentencePiece never gives the id of a control piece for text, other programs do wherever that text occurs. `[INST]` and
// `[/INST]` are part of BlockML, so where they are control pieces (Mistral 7B v0.3: 3 and 4) their ids are what a model
// meets in use. The text of every other control piece is as wrong in BlockML as `<s>`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "shori/data/tokenizer_model.h"

namespace shori {

class SpecialPieces {
 public:
  SpecialPieces() = default;
  explicit SpecialPieces(const TokenizerModel& model);

  struct Mark {
    std::size_t at = 0, bytes = 0;
    std::int32_t id = 0;
  };
  // The first `[INST]` or `[/INST]` at or after `from`; nullopt if there is none, or if they are no control pieces.
  std::optional<Mark> find_mark(std::string_view text, std::size_t from) const;
  bool is_mark(std::int32_t id) const;

  // Offset and text of the first control piece that is neither a mark nor one of `<s>`, `</s>` and `<unk>`.
  std::optional<std::pair<std::size_t, std::string_view>> find_control_text(std::string_view text) const;

 private:
  std::map<std::string, std::int32_t, std::less<>> marks_;
  std::set<std::string, std::less<>> others_;
  std::set<std::size_t> other_sizes_;
  std::string first_bytes_;  // of the others
};

}  // namespace shori
