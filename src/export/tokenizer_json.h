// `tokenizer.json` for a base that has none. Without it, transformers 5 converts tokenizer.model itself and leaves out the
// dummy prefix of the text after `<s>`, so that prompts get other ids than in training.
#pragma once

#include <string>

#include "shori/data/tokenizer_model.h"

namespace shori {

// What transformers' converter writes for a Llama tokenizer with `legacy: true`: BPE with byte fallback, and a normalizer
// that prepends `▁` and replaces spaces by it. The merges are every split of a piece into two pieces, sorted by the ids of
// both, and then (stably) by the score of the whole, the best first.
std::string tokenizer_json(const TokenizerModel& model);

// Whether the normalizer of a tokenizer.json gives the dummy prefix also after `<s>`. False for what cannot be read.
bool prepends_after_special(std::string_view tokenizer_json);

}  // namespace shori
