// Functions on one row, from which the CPU versions are built. They compute in fp32 and sum in one fixed order (16 lanes,
// then a tree over the lanes), so their bits are the same on every x86-64.
#pragma once

#include <cstdint>

#include "shori/ops/linear_group.h"
#include "shori/ops/tensor_view.h"

namespace shori {

void widen_row(const Bf16* in, float* out, std::int64_t count);
void narrow_row(const float* in, Bf16* out, std::int64_t count);
// Loads and stores elements first .. first + count - 1 of a row, bf16 or fp32 in memory.
void load_row(ConstTensorView view, std::int64_t row, std::int64_t first, std::int64_t count, float* out);
void store_row(const float* in, TensorView view, std::int64_t row, std::int64_t first, std::int64_t count);
// Rounds to bf16 in place; does nothing for kF32.
void round_row(DType dtype, float* values, std::int64_t count);

void add_to_row(const float* in, float* sum, std::int64_t count);                   // sum += in
void add_scaled_row(float scale, const float* in, float* sum, std::int64_t count);  // sum += scale * in
void multiply_row(const float* in, float* product, std::int64_t count);             // product *= in
void scale_row(float scale, float* values, std::int64_t count);                     // values *= scale
float dot_rows(const float* a, const float* b, std::int64_t count);
// g = rstd * (g - h * rstd * mean): the gradient of RMSNorm.
void norm_gradient_row(const float* h, float rstd, float mean, float* g, std::int64_t count);

// gate = silu(gate)
void silu_row(float* gate, std::int64_t count);
// Replaces gate and up by their gradients (ops/swiglu.h).
void swiglu_gradient_row(const float* dp, float* gate, float* up, std::int64_t count);

// The largest value; NaN if any value is NaN.
float max_of_row(const float* values, std::int64_t count);
// values = e^(scale * values - shift), each within about 1 ulp; returns their sum.
float exp_shifted_row(float scale, float shift, float* values, std::int64_t count);
// The gradient of softmax: score = e^(scale * score - lse), then dscore = score * (dscore - delta) * scale.
void attention_gradient_row(float scale, float lse, float delta, float* score, float* dscore, std::int64_t count);

// first = round(round(first * cos) - round(second * sin)), second = round(round(second * cos) + round(first * sin)).
void rotate_row(DType dtype, const float* cos, const float* sin, float* first, float* second, std::int64_t half);

// Sets to zero what the mask of `module` drops in columns [first_column, first_column + count) of token `row`, a row of the
// views. first_column is a multiple of 8.
void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              float* values);
void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              Bf16* values);

// The sum of squares of up to 4,096 values (ops/grad_norm.h): the squares are padded with zeros to 4,096, then
// s[i] += s[i + half] for half = 2,048 ... 1.
float sum_of_squares_by_halving(const float* values, std::int64_t count);

}  // namespace shori
