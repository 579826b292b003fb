// O3 unrolls the loops over vectors of columns, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/nf4_block.h"
#include "kernels/cpu/nf4_decode.h"
#include "kernels/cpu/row_dot.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// How rows are read.
enum class RowFormat { kNf4, kNf4AcrossRows, kBf16, kF32 };
RowFormat format_of(const FrozenWeight& weight) {
  if (weight.dtype == DType::kBf16) return RowFormat::kBf16;
  if (weight.dtype == DType::kF32) return RowFormat::kF32;
  return weight.cols % kNf4BlockSize == 0 ? RowFormat::kNf4 : RowFormat::kNf4AcrossRows;
}

void store(const float* sums, std::int64_t count, float* out, std::int64_t stride, bool add) {
  for (std::int64_t input = 0; input < count; ++input) {
    float& to = out[input * stride];
    to = add ? to + sums[input] : sums[input];
  }
}

// A dense row: whole steps where they are, then the rest from a copy padded with zeros, as the packed input is.
template <typename T>
void dense_row(DenseDot<T> dot, const T* row, std::int64_t cols, const RowInputs& inputs, float* out,
               std::int64_t stride, bool add) {
  const std::int64_t whole = cols / kRowStep, rest = cols % kRowStep;
  float sums[kMaxRowInputs];
  if (whole > 0) {
    dot(row, whole, inputs, sums);
    store(sums, inputs.count, out, stride, add);
  }
  if (rest == 0) return;
  T tail[kRowStep] = {};
  std::copy_n(row + whole * kRowStep, rest, tail);
  dot(tail, 1, {inputs.packed + whole * kRowStep, inputs.stride, inputs.count}, sums);
  store(sums, inputs.count, out, stride, add || whole > 0);
}

// A row whose quantization blocks begin in other rows, decoded by chunks.
void nf4_row_across(CpuIsa isa, DenseDot<float> dot, const FrozenWeight& weight, std::int64_t row,
                    const RowInputs& inputs, float* out, std::int64_t stride) {
  constexpr std::int64_t kChunk = 16 * kRowStep;
  float chunk[kChunk];
  for (std::int64_t col = 0; col < weight.cols; col += kChunk) {
    const std::int64_t cols = std::min(kChunk, weight.cols - col);
    decode_nf4(isa, weight.nf4, row * weight.cols + col, cols, chunk);
    dense_row(dot, chunk, cols, {inputs.packed + col, inputs.stride, inputs.count}, out, stride, col > 0);
  }
}

}  // namespace

std::int64_t packed_input_size(const FrozenWeight& weight) { return round_up(weight.cols, kRowStep); }

void pack_input(const FrozenWeight& weight, const float* x, float* packed) {
  const RowFormat format = format_of(weight);
  const std::int64_t cols = weight.cols;
  if (format == RowFormat::kNf4) {
    for (std::int64_t block = 0; block < cols; block += kNf4BlockSize) {
      for (std::int64_t i = 0; i < kNf4BlockSize; ++i) packed[block + i] = x[block + 4 * row_word(i % 16) + i / 16];
    }
    return;
  }
  std::fill_n(packed + cols, packed_input_size(weight) - cols, 0.0f);
  if (format != RowFormat::kBf16) {
    std::copy_n(x, cols, packed);
    return;
  }
  for (std::int64_t step = 0; step < cols; step += kRowStep) {
    for (std::int64_t i = 0; i < kRowStep; ++i) {
      const std::int64_t from = step + 2 * (i % 16) + i / 16;
      packed[step + i] = from < cols ? x[from] : 0.0f;
    }
  }
}

void multiply_rows(CpuIsa isa, const FrozenWeight& weight, std::int64_t first, std::int64_t last, const float* packed,
                   std::int64_t count, float* sums, std::int64_t stride) {
  const RowInputs inputs{packed, packed_input_size(weight), count};
  const RowDot& dot = row_dot(isa);
  const BlockScales scales{dynamic_map_signed(), weight.nf4};
  const RowFormat format = format_of(weight);
  for (std::int64_t row = first; row < last; ++row, ++sums) {
    switch (format) {
      case RowFormat::kNf4: {
        const std::int64_t blocks = weight.cols / kNf4BlockSize;
        float of_inputs[kMaxRowInputs];
        dot.nf4(weight.nf4.codes, scales, row * blocks, blocks, inputs, of_inputs);
        store(of_inputs, count, sums, stride, false);
        break;
      }
      case RowFormat::kNf4AcrossRows:
        nf4_row_across(isa, dot.f32, weight, row, inputs, sums, stride);
        break;
      case RowFormat::kBf16:
        dense_row(dot.bf16, static_cast<const Bf16*>(weight.dense) + row * weight.cols, weight.cols, inputs, sums,
                  stride, false);
        break;
      case RowFormat::kF32:
        dense_row(dot.f32, static_cast<const float*>(weight.dense) + row * weight.cols, weight.cols, inputs, sums,
                  stride, false);
        break;
    }
  }
}

void add_weighted_rows(CpuIsa isa, const FrozenWeight& matrix, std::int64_t first, std::int64_t last,
                       const RowWeights& weights, float* sums) {
  const std::int64_t cols = matrix.cols, count = last - first;
  if (matrix.dtype == DType::kF32) {
    row_dot(isa).add_f32(static_cast<const float*>(matrix.dense) + first * cols, cols, count, weights, sums);
  } else {
    row_dot(isa).add_bf16(static_cast<const Bf16*>(matrix.dense) + first * cols, cols, count, weights, sums);
  }
}

}  // namespace shori
