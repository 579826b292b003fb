// Quantization works on whole blocks; the values of a chunk that ends inside a block wait in `pending_`.
#include "shori/quant/nf4.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "shori/io/half_rows.h"
#include "shori/quant/blockwise8.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/error.h"
#include "shori/util/threads.h"

// One body is compiled for wider registers as well, and the dynamic loader picks a version. Contraction is off for
// every instruction set, so the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define SHORI_QUANT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SHORI_QUANT_CLONES
#endif
#define SHORI_QUANT_INLINE inline __attribute__((always_inline))

namespace shori {

namespace {

constexpr std::uint32_t kInfinityBits = 0x7f800000u;
constexpr std::size_t kThresholds = 15;
constexpr std::int64_t kBlocksPerThread = 4096;  // 1 MiB of fp32: with less, starting a thread costs more than it saves

// Bits of the largest absolute value: of non-negative floats, order of bits = order of values, and NaN and Inf come
// last.
SHORI_QUANT_INLINE std::uint32_t absmax_bits(const float* values) {
  std::int32_t largest = 0;
  for (int i = 0; i < kNf4BlockSize; ++i) {
    const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu);
    largest = bits > largest ? bits : largest;
  }
  return static_cast<std::uint32_t>(largest);
}

const std::array<float, kThresholds>& thresholds() {
  static const std::array<float, kThresholds> values = [] {
    std::array<float, kThresholds> list{};
    for (unsigned code = 0; code < list.size(); ++code) list[code] = nf4_threshold(code);
    return list;
  }();
  return values;
}

// Number of thresholds below `value`, written out (index...), so that a loop over values keeps everything in registers.
template <std::size_t... kIndex>
SHORI_QUANT_INLINE std::int32_t count_below(float value, const float* thresholds, std::index_sequence<kIndex...>) {
  return ((value > thresholds[kIndex] ? 1 : 0) + ...);
}

// One whole block; loops of constant length over the block, so that the compiler makes vectors of them.
SHORI_QUANT_INLINE void encode_block(const float* values, float absmax, const float* thresholds, std::uint8_t* bytes) {
  const float reciprocal = 1.0f / absmax;
  alignas(64) std::int32_t codes[kNf4BlockSize];
  for (int i = 0; i < kNf4BlockSize; ++i) {
    codes[i] = count_below(values[i] * reciprocal, thresholds, std::make_index_sequence<kThresholds>());
  }
  for (int i = 0; i < kNf4BlockSize / 2; ++i) {
    bytes[i] = static_cast<std::uint8_t>(codes[2 * i] << 4 | codes[2 * i + 1]);
  }
}

// Index of the first block with NaN or Inf, or `count`.
SHORI_QUANT_CLONES std::int64_t encode_blocks(const float* values, std::int64_t count, std::uint8_t* bytes,
                                              float* absmax) {
  const float* levels = thresholds().data();
  for (std::int64_t block = 0; block < count; ++block) {
    const float* source = values + block * kNf4BlockSize;
    std::uint8_t* target = bytes + block * kNf4BlockSize / 2;
    const std::uint32_t bits = absmax_bits(source);
    if (bits >= kInfinityBits) return block;
    absmax[block] = std::bit_cast<float>(bits);
    if (absmax[block] < std::numeric_limits<float>::min()) {
      absmax[block] = 0.0f;
      std::fill_n(target, kNf4BlockSize / 2, std::uint8_t{0});
    } else {
      encode_block(source, absmax[block], levels, target);
    }
  }
  return count;
}

// Blocks [first, last) of values as a file holds them; index of the first block with NaN or Inf, or `last`.
std::int64_t widen_and_encode(FileDType dtype, const std::byte* values, std::int64_t first, std::int64_t last,
                              std::uint8_t* bytes, float* absmax) {
  constexpr std::int64_t kBlocksAtOnce = 32;  // 8 KiB of fp32
  alignas(64) std::array<float, kBlocksAtOnce * kNf4BlockSize> wide;
  const auto block_bytes = static_cast<std::int64_t>(dtype_size(dtype)) * kNf4BlockSize;
  for (std::int64_t block = first; block < last; block += kBlocksAtOnce) {
    const std::int64_t count = std::min(kBlocksAtOnce, last - block);
    widen_values(dtype, values + block * block_bytes, static_cast<std::size_t>(count * kNf4BlockSize), wide.data());
    const std::int64_t encoded = encode_blocks(wide.data(), count, bytes + block * kNf4BlockSize / 2, absmax + block);
    if (encoded < count) return block + encoded;
  }
  return last;
}

// The same over [0, count) by up to `threads` threads; index of the first bad block, or `count`.
std::int64_t encode_parallel(FileDType dtype, const std::byte* values, std::int64_t count, int threads,
                             std::uint8_t* bytes, float* absmax) {
  std::atomic<std::int64_t> first_bad{count};
  for_each_part(count, std::min<std::int64_t>(count / kBlocksPerThread, threads),
                [&](std::int64_t first, std::int64_t last) {
                  const std::int64_t end = widen_and_encode(dtype, values, first, last, bytes, absmax);
                  if (end < last) lower_to(first_bad, end);
                });
  return first_bad;
}

// fp64 sums of 256 entries in index order, then those sums in index order, so that a device can do the same.
float mean_absmax(std::span<const float> block_absmax) {
  double total = 0;
  for (std::size_t start = 0; start < block_absmax.size(); start += kNf4GroupSize) {
    double sum = 0;
    const std::size_t end = std::min(start + kNf4GroupSize, block_absmax.size());
    for (std::size_t i = start; i < end; ++i) sum += block_absmax[i];
    total += sum;
  }
  return static_cast<float>(total / static_cast<double>(block_absmax.size()));
}

}  // namespace

float quantize_absmax(std::span<const float> block_absmax, std::uint8_t* absmax, float* absmax2) {
  const float offset = block_absmax.empty() ? 0.0f : mean_absmax(block_absmax);
  const float* map = dynamic_map_signed();
  for (std::size_t start = 0; start < block_absmax.size(); start += kNf4GroupSize) {
    const std::size_t end = std::min(start + kNf4GroupSize, block_absmax.size());
    float largest = 0.0f;
    for (std::size_t i = start; i < end; ++i) largest = std::max(largest, std::fabs(block_absmax[i] - offset));
    const float reciprocal = 1.0f / largest;
    for (std::size_t i = start; i < end; ++i) {
      absmax[i] = nearest_in_map(map, (block_absmax[i] - offset) * reciprocal);
    }
    absmax2[start / kNf4GroupSize] = largest;
  }
  return offset;
}

Nf4Quantizer::Nf4Quantizer(const Nf4View& target, int threads)
    : target_(target), block_absmax_(static_cast<std::size_t>(target.layout.blocks())), threads_(threads) {
  SHORI_CHECK(target.layout.nested, "quantization makes nested scales");
  pending_.reserve(kNf4BlockSize);
}

std::optional<std::int64_t> Nf4Quantizer::add(std::span<const float> values) {
  return add(FileDType::kF32, std::as_bytes(values).data(), std::ssize(values));
}

std::optional<std::int64_t> Nf4Quantizer::add(FileDType dtype, const std::byte* values, std::int64_t count) {
  const std::int64_t done = next_block_ * kNf4BlockSize + std::ssize(pending_);
  SHORI_CHECK(done + count <= target_.layout.count(), "more values than the weight has");
  const auto size = static_cast<std::int64_t>(dtype_size(dtype));
  if (!pending_.empty()) {
    const std::int64_t missing = std::min(kNf4BlockSize - std::ssize(pending_), count);
    if (const auto bad = hold(dtype, values, missing)) return bad;
    values += missing * size;
    count -= missing;
    if (std::ssize(pending_) < kNf4BlockSize) return std::nullopt;
    const std::vector<float> block = std::exchange(pending_, {});
    if (const auto bad = add_blocks(FileDType::kF32, std::as_bytes(std::span(block)).data(), 1)) return bad;
  }
  const std::int64_t blocks = count / kNf4BlockSize, whole = blocks * kNf4BlockSize;
  if (const auto bad = add_blocks(dtype, values, blocks)) return bad;
  return hold(dtype, values + whole * size, count - whole);
}

std::optional<std::int64_t> Nf4Quantizer::hold(FileDType dtype, const std::byte* values, std::int64_t count) {
  std::array<float, kNf4BlockSize> wide;
  widen_values(dtype, values, static_cast<std::size_t>(count), wide.data());
  for (const float value : std::span(wide).first(static_cast<std::size_t>(count))) {
    if (!std::isfinite(value)) return next_block_ * kNf4BlockSize + std::ssize(pending_);
    pending_.push_back(value);
  }
  return std::nullopt;
}

std::optional<std::int64_t> Nf4Quantizer::add_blocks(FileDType dtype, const std::byte* values, std::int64_t count) {
  const std::int64_t bad =
      encode_parallel(dtype, values, count, threads_, target_.codes + next_block_ * kNf4BlockSize / 2,
                      block_absmax_.data() + next_block_);
  const std::int64_t first = next_block_ * kNf4BlockSize;
  next_block_ += count;
  if (bad == count) return std::nullopt;
  std::array<float, kNf4BlockSize> block;
  widen_values(dtype, values + bad * kNf4BlockSize * static_cast<std::int64_t>(dtype_size(dtype)), block.size(),
               block.data());
  const auto found = std::ranges::find_if(block, [](float value) { return !std::isfinite(value); });
  return first + bad * kNf4BlockSize + (found - block.begin());
}

Nf4Findings Nf4Quantizer::finish() {
  SHORI_CHECK(next_block_ * kNf4BlockSize + static_cast<std::int64_t>(pending_.size()) == target_.layout.count(),
              "fewer values than the weight has");
  if (!pending_.empty()) {
    // The last block: zeros after its last value change neither absmax nor codes, and give the nibble of an odd end.
    const std::size_t bytes = (pending_.size() + 1) / 2;
    pending_.resize(kNf4BlockSize, 0.0f);
    std::array<std::uint8_t, kNf4BlockSize / 2> encoded{};
    encode_blocks(pending_.data(), 1, encoded.data(), &block_absmax_.back());
    std::copy_n(encoded.begin(), bytes, target_.codes + target_.layout.codes() - bytes);
    pending_.clear();
  }
  return {.zero_blocks = std::count(block_absmax_.begin(), block_absmax_.end(), 0.0f),
          .first_bad_block = -1,
          .offset = quantize_absmax(block_absmax_, target_.absmax, target_.absmax2)};
}

std::optional<Nf4Findings> quantize_nf4(std::span<const float> values, const Nf4View& target, int threads) {
  Nf4Quantizer quantizer(target, threads);
  if (quantizer.add(values)) return std::nullopt;
  return quantizer.finish();
}

float nf4_block_scale(const Nf4View& weight, std::int64_t block) {
  if (!weight.layout.nested) return weight.scales[block];
  return nf4_scale(dynamic_map_signed()[weight.absmax[block]], weight.absmax2[block / kNf4GroupSize], weight.offset);
}

void dequantize_nf4(const Nf4View& weight, std::int64_t first, std::span<float> out) {
  std::int64_t block = -1;
  float scale = 0.0f;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t element = first + static_cast<std::int64_t>(i);
    if (element / kNf4BlockSize != block) {
      block = element / kNf4BlockSize;
      scale = nf4_block_scale(weight, block);
    }
    const std::uint8_t byte = weight.codes[element / 2];
    out[i] = to_float(nf4_weight(element % 2 == 0 ? byte >> 4 : byte & 15u, scale));
  }
}

}  // namespace shori
