// fp32 values in the number formats of GGUF, and the order of the rows of Q and K.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "src/export/gguf/gguf_file.h"

namespace shori {

// Encodes values (whole blocks) to `out`, bytes_of(type, values.size()) bytes.
//   F16, BF16  rounded to nearest even
//   Q8_0       blocks of 32: d = max|x| / 127, q = x * (1 / d) rounded half away from zero; f16 d | i8 q[32]
// E0210 for a value that is not finite, E0804 for one that the type cannot hold; `name` is the tensor's.
void encode_gguf_values(GgufType type, std::span<const float> values, std::byte* out, const std::string& name);

// The inverse, exact. `bytes`: bytes_of(type, values.size()).
void decode_gguf_values(GgufType type, const std::byte* bytes, std::span<float> values);

// The llama graph rotates neighbouring elements of a head, Hugging Face's the two halves: row 2j of a head is its row j
// there, row 2j + 1 its row d / 2 + j, with d = head_dim. The row there for `row` of the GGUF file.
constexpr std::int64_t rotated_half_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

// Rows of `cols` values, whole heads, in that order.
void permute_rows(std::span<float> values, std::int64_t cols, std::int64_t head_dim);

}  // namespace shori
