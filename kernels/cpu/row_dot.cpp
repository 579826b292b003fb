// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_dot.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/row_product.h"

namespace shori {

namespace {

struct PlainNf4 {
  static constexpr std::int64_t kElements = kNf4BlockSize;
  const std::uint8_t* codes;
  const BlockScales& scales;
  std::int64_t block;

  void next(float* out) {
    float values[kNf4BlockSize];
    decode_block_plain(codes + block * (kNf4BlockSize / 2), scales.of(block), values);
    ++block;
    for (std::int64_t k = 0; k < 4; ++k) {
      for (std::int64_t l = 0; l < 16; ++l) out[k * 16 + l] = values[4 * row_word(l) + k];
    }
  }
};
struct PlainBf16 {
  static constexpr std::int64_t kElements = kRowStep;
  const Bf16* row;

  void next(float* out) {
    for (std::int64_t l = 0; l < kRowStep; ++l) out[l % 2 * 16 + l / 2] = to_float(row[l]);
    row += kRowStep;
  }
};
struct PlainF32 {
  static constexpr std::int64_t kElements = kRowStep;
  const float* row;

  void next(float* out) {
    std::copy_n(row, kRowStep, out);
    row += kRowStep;
  }
};

template <typename Reader>
void dot_plain(Reader reader, std::int64_t steps, const RowInputs& inputs, float* sums) {
  const float* x = inputs.packed;
  float lanes[kMaxRowInputs][kRowStep] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += Reader::kElements) {
    float values[Reader::kElements];
    reader.next(values);
    for (std::int64_t input = 0; input < inputs.count; ++input) {
      for (std::int64_t i = 0; i < Reader::kElements; ++i) {
        float& lane = lanes[input][i % kRowStep];
        lane = std::fma(values[i], x[input * inputs.stride + i], lane);
      }
    }
  }
  for (std::int64_t input = 0; input < inputs.count; ++input) sums[input] = half_sum(lanes[input]);
}

void plain_nf4(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first, std::int64_t blocks,
               const RowInputs& inputs, float* sums) {
  dot_plain(PlainNf4{codes, scales, first}, blocks, inputs, sums);
}
template <typename Reader, typename T>
void plain_dense(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums) {
  dot_plain(Reader{row}, steps, inputs, sums);
}

template <typename T>
void plain_add(const T* rows, std::int64_t cols, std::int64_t count, const RowWeights& weights, float* sums) {
  for (std::int64_t i = 0; i < weights.count; ++i) {
    for (std::int64_t row = 0; row < count; ++row) {
      const float weight = weights.weights[i * weights.stride + row];
      for (std::int64_t col = 0; col < cols; ++col) {
        float& sum = sums[i * cols + col];
        sum = std::fma(weight, as_float(rows[row * cols + col]), sum);
      }
    }
  }
}

}  // namespace

const RowDot kPlainRowDot = {plain_nf4, plain_dense<PlainBf16, Bf16>, plain_dense<PlainF32, float>, plain_add<Bf16>,
                             plain_add<float>};

const RowDot& row_dot(CpuIsa isa) {
#ifdef __x86_64__
  isa = std::min(isa, cpu_support().best);
  if (isa >= CpuIsa::kAvx512) return kAvx512RowDot;
  if (isa == CpuIsa::kAvx2) return kAvx2RowDot;
#else
  (void)isa;
#endif
  return kPlainRowDot;
}

}  // namespace shori
