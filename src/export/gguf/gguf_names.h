// Which tensor of a Hugging Face model is which in a GGUF file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/util/linear.h"
#include "src/export/gguf/gguf_file.h"

namespace shori {

// "blk.3.attn_q.weight".
std::string gguf_linear_name(std::int64_t layer, Linear linear);

// Whether the rows of this linear are in another order there (gguf_values.h).
constexpr bool is_permuted(Linear linear) { return linear == Linear::kQ || linear == Linear::kK; }

struct GgufWeight {
  const HfTensor* source = nullptr;
  bool permuted = false;
  GgufTensor target;
};

// Every weight in the order of the file: embedding, layers, last norm, head (absent if it is the embedding). Matrices
// are of `type`, norms of F32, which llama.cpp demands. E0804 if a row is not a whole number of blocks.
std::vector<GgufWeight> gguf_weights(const HfModel& base, GgufType type);

}  // namespace shori
