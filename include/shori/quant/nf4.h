// NF4 with double quantization. Source: bitsandbytes' CUDA kernels (kQuantizeBlockwise, functional.quantize_4bit with
// compress_statistics), with IEEE reciprocals instead of approximate ones.
//
// Blocks of 64 run over the flattened row-major weight:
//   r = 1 / absmax;  code = number of the 15 thresholds below x * r;  byte = code of even element << 4 | code of odd
// A block whose absmax is zero or subnormal is a zero block: absmax 0 and every code 0, as flush-to-zero makes it.
// The fp32 absmax of the weight are then quantized themselves: offset = their mean; groups of 256 of (absmax - offset),
// each to the nearest entry of dynamic_map_signed().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/quant/nf4_levels.h"

namespace shori {

// Sizes of the arrays of one NF4 weight.
struct Nf4Layout {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  bool nested = true;  // the scales are quantized themselves; else they are flat: one fp32 value per block

  std::int64_t count() const { return rows * cols; }
  std::int64_t codes() const { return ceil_div<std::int64_t>(count(), 2); }  // bytes
  std::int64_t blocks() const { return nf4_blocks(count()); }
  std::int64_t groups() const { return nf4_groups(blocks()); }
};

// The arrays of one NF4 weight, on the host or on a device. The view owns none of them.
struct Nf4View {
  Nf4Layout layout;
  std::uint8_t* codes = nullptr;   // [codes()], the even element in the high nibble
  std::uint8_t* absmax = nullptr;  // nested: [blocks()], index into dynamic_map_signed()
  float* absmax2 = nullptr;        // nested: [groups()]
  float offset = 0.0f;             // nested: added to every scale
  float* scales = nullptr;         // flat: [blocks()], the scale itself
};

// What quantizing a weight yields beside its arrays. A device writes it to its memory.
struct Nf4Findings {
  std::int64_t zero_blocks;      // blocks that decode to a small constant instead of zero: worth a log line
  std::int64_t first_bad_block;  // the first block that holds NaN or Inf (the arrays are then useless), else -1
  float offset;                  // Nf4View::offset
};

// Quantizes a weight that arrives in chunks, in row-major order. Holds one fp32 per 64 weights beside the target. The
// result depends neither on the chunks nor on the number of threads.
class Nf4Quantizer {
 public:
  // `target`: nested, host memory that outlives the quantizer.
  Nf4Quantizer(const Nf4View& target, int threads);

  // The next `count` values: BF16, F16 or F32. Each thread widens what it quantizes, so that they meet its first cache.
  // Returns the flat index of the first NaN or Inf; the target is then useless. More values than the weight has are an
  // internal error.
  std::optional<std::int64_t> add(FileDType dtype, const std::byte* values, std::int64_t count);
  std::optional<std::int64_t> add(std::span<const float> values);

  // After the last value.
  Nf4Findings finish();

 private:
  std::optional<std::int64_t> add_blocks(FileDType dtype, const std::byte* values, std::int64_t count);
  std::optional<std::int64_t> hold(FileDType dtype, const std::byte* values, std::int64_t count);

  Nf4View target_;
  std::vector<float> block_absmax_;  // [blocks] fp32
  std::vector<float> pending_;       // values of a block that is not complete yet
  std::int64_t next_block_ = 0;
  int threads_;
};

// The whole weight at once; nullopt if a value is NaN or Inf.
std::optional<Nf4Findings> quantize_nf4(std::span<const float> values, const Nf4View& target, int threads = 1);

// Scale of block `block`, as every product uses it.
float nf4_block_scale(const Nf4View& weight, std::int64_t block);

// Elements first .. first + out.size() - 1 of the flattened weight, rounded to bf16 and widened.
void dequantize_nf4(const Nf4View& weight, std::int64_t first, std::span<float> out);

// Double quantization alone: from the fp32 absmax of all blocks to absmax [blocks] and absmax2 [groups]. Returns the
// offset.
float quantize_absmax(std::span<const float> block_absmax, std::uint8_t* absmax, float* absmax2);

}  // namespace shori
