// NF4 with double quantization. Source: bitsandbytes' CUDA kernels (kQuantizeBlockwise, functional.quantize_4bit with
// compress_statistics), with IEEE reciprocals instead of approximate ones.
//
// Blocks of 64 run over the flattened row-major weight:
//   r = 1 / absmax;  code = number of the 15 thresholds below x * r;  byte = code of even element << 4 | code of odd
// A block whose absmax is zero or subnormal is a zero block: absmax 0 and every code 0, as flush-to-zero makes it.
// The fp32 absmax of the tensor are then quantized themselves: offset = their mean; blocks of 256 of (absmax - offset),
// each to the nearest entry of dynamic_map_signed().
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shori/quant/nf4_levels.h"

namespace shori {

struct Nf4Tensor {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;   // [ceil(rows * cols / 2)]
  std::vector<std::uint8_t> absmax;  // [ceil(rows * cols / 64)]: index into dynamic_map_signed()
  std::vector<float> absmax2;        // [ceil(absmax / 256)]
  float offset = 0.0f;               // added to every scale
  // Of a base that others quantized: the scale of each block itself, [blocks]; absmax and absmax2 are then empty.
  std::vector<float> scales;
  std::int64_t zero_blocks = 0;  // blocks that decode to a small constant instead of zero: worth a log line

  std::int64_t count() const { return rows * cols; }
  std::size_t bytes() const {
    return codes.size() + absmax.size() + (absmax2.size() + scales.size() + 1) * sizeof(float);
  }
};

// Quantizes a tensor that arrives in pieces, in row-major order. Holds one fp32 per 64 weights beside the result.
// The result depends neither on the pieces nor on the number of threads.
class Nf4Quantizer {
 public:
  Nf4Quantizer(std::int64_t rows, std::int64_t cols, int threads);

  // The next values (exact: widened from bf16, f16 or fp32). Returns the flat index of the first NaN or Inf; the tensor
  // is then worthless. More values than rows * cols are a bug of ours.
  std::optional<std::int64_t> add(std::span<const float> values);

  // After the last value.
  Nf4Tensor finish();

 private:
  std::optional<std::int64_t> add_blocks(std::span<const float> values);
  std::optional<std::int64_t> hold(std::span<const float> values);

  Nf4Tensor tensor_;
  std::vector<float> block_absmax_;  // [blocks] fp32
  std::vector<float> pending_;       // values of a block that is not complete yet
  std::int64_t next_block_ = 0;
  int threads_;
};

// Whole tensor at once; nullopt with a NaN or Inf in it.
std::optional<Nf4Tensor> quantize_nf4(std::span<const float> values, std::int64_t rows, std::int64_t cols,
                                      int threads = 1);

// Scale of block `block`, as every product uses it.
float nf4_block_scale(const Nf4Tensor& tensor, std::int64_t block);

// Elements first .. first + out.size() - 1 of the flattened tensor, rounded to bf16 and widened.
void dequantize_nf4(const Nf4Tensor& tensor, std::int64_t first, std::span<float> out);

// Double quantization alone: fills absmax, absmax2 and offset of `tensor` from the fp32 absmax of its blocks.
void quantize_absmax(std::span<const float> block_absmax, Nf4Tensor& tensor);

}  // namespace shori
