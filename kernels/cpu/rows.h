// Row functions of the CPU versions: fp32 inside, sums in one fixed order (16 lanes, then a tree), the same bits on
// every x86-64.
#pragma once

#include <cstdint>

#include "shori/ops/linear_group.h"
#include "shori/ops/tensor_view.h"

namespace shori {

void widen_row(const Bf16* in, float* out, std::int64_t count);
void narrow_row(const float* in, Bf16* out, std::int64_t count);
// Elements first .. first + count - 1 of a row, bf16 or fp32, to and from fp32.
void load_row(ConstTensorView view, std::int64_t row, std::int64_t first, std::int64_t count, float* out);
void store_row(const float* in, TensorView view, std::int64_t row, std::int64_t first, std::int64_t count);
// Rounds to bf16 in place; nothing to do for kF32.
void round_row(DType dtype, float* values, std::int64_t count);

void add_to_row(const float* in, float* sum, std::int64_t count);                   // sum += in
void add_scaled_row(float scale, const float* in, float* sum, std::int64_t count);  // sum += scale * in
void multiply_row(const float* in, float* product, std::int64_t count);             // product *= in
void scale_row(float scale, float* values, std::int64_t count);                     // values *= scale
float dot_rows(const float* a, const float* b, std::int64_t count);
// dh = rstd * (g - n * mean) with n = h * rstd; g is replaced by dh.
void norm_gradient_row(const float* h, float rstd, float mean, float* g, std::int64_t count);

// values = e^values, each about 1 ulp.
void exp_row(float* values, std::int64_t count);
// gate = silu(gate).
void silu_row(float* gate, std::int64_t count);
// gate, up -> dgate, dup.
void swiglu_gradient_row(const float* dp, float* gate, float* up, std::int64_t count);

// Largest value; NaN if any is NaN.
float max_of_row(const float* values, std::int64_t count);
// values = e^(scale * values - shift); returns their sum.
float exp_shifted_row(float scale, float shift, float* values, std::int64_t count);
// Softmax gradient: score = e^(scale * score - lse), then dscore = score * (dscore - delta) * scale.
void attention_gradient_row(float scale, float lse, float delta, float* score, float* dscore, std::int64_t count);

// first = round(round(first * cos) - round(second * sin)), second = round(round(second * cos) + round(first * sin)).
void rotate_row(DType dtype, const float* cos, const float* sin, float* first, float* second, std::int64_t half);

// Sets the dropped elements of columns [first_column, first_column + count) of one token to zero; first_column is a
// multiple of 8.
void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              float* values);

// Sum of squares by halving: values are padded to 4,096 with zeros, then s[i] += s[i + half] for half = 2,048 ... 1.
float sum_of_squares_by_halving(const float* values, std::int64_t count);

// 64 weights of one quantization block, rounded to bf16, from 32 code bytes.
void dequantize_block(const std::uint8_t* codes, float scale, float* out);

}  // namespace shori
