#include "src/export/gguf/gguf_values.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "shori/io/half.h"
#include "shori/io/half_rows.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "src/export/gguf/q8_blocks.h"
#include "src/export/merged_weights.h"

namespace shori {
namespace {

[[noreturn]] void refuse_value(float value, const std::string& name, GgufType type) {
  throw Error(Diagnostic("E0804", concat("`", name, "` holds ", std::to_string(value), ", beyond the range of ",
                                         type_name(type)))
                  .help("`--type bf16` or `--type f32`"));
}

// The bits of the largest magnitude, which order as the magnitudes do, infinity and NaN above all.
std::int32_t largest_bits(std::span<const float> values) {
  // A constant number of steps, so that the compiler makes vectors of them.
  constexpr std::size_t kStep = 64;
  std::int32_t largest[kStep] = {};
  const auto keep = [](std::int32_t& best, float value) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(value) & 0x7fffffff;
    best = bits > best ? bits : best;
  };
  const float* at = values.data();
  std::size_t left = values.size();
  for (; left >= kStep; left -= kStep, at += kStep)
    for (std::size_t k = 0; k < kStep; ++k) keep(largest[k], at[k]);
  for (; left > 0; --left, ++at) keep(largest[0], *at);
  return *std::max_element(largest, largest + kStep);
}

void encode_half(std::span<const float> values, std::int32_t largest, std::byte* out, const std::string& name) {
  constexpr std::int32_t kTooLarge = 0x477ff000;  // 65520, the least that rounds to infinity
  if (largest >= kTooLarge) {
    const auto bad = std::find_if(values.begin(), values.end(),
                                  [](float value) { return (float_to_half(value) & 0x7c00) == 0x7c00; });
    refuse_value(*bad, name, GgufType::kF16);
  }
  to_halves(values, reinterpret_cast<std::uint16_t*>(out));
}

void encode_q8(std::span<const float> values, std::int32_t largest, std::byte* out, const std::string& name) {
  const auto magnitude = std::bit_cast<float>(largest);
  if ((float_to_half(magnitude / 127.0f) & 0x7c00) == 0x7c00) refuse_value(magnitude, name, GgufType::kQ8_0);
  encode_q8_blocks(values, out);
}

}  // namespace

void encode_gguf_values(GgufType type, std::span<const float> values, std::byte* out, const std::string& name) {
  const std::int32_t largest = largest_bits(values);
  if (largest >= 0x7f800000) throw Error(Diagnostic("E0210", concat("`", name, "` holds a value that is not finite")));
  switch (type) {
    case GgufType::kF32:
      std::memcpy(out, values.data(), values.size_bytes());
      return;
    case GgufType::kF16:
      return encode_half(values, largest, out, name);
    case GgufType::kBf16:
      return encode_bf16(values, reinterpret_cast<std::uint16_t*>(out));
    case GgufType::kQ8_0:
      return encode_q8(values, largest, out, name);
  }
}

void decode_gguf_values(GgufType type, const std::byte* bytes, std::span<float> values) {
  if (type == GgufType::kF32) {
    std::memcpy(values.data(), bytes, values.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t bits = 0;
    const std::byte* block = bytes + bytes_of(type, i);
    std::memcpy(&bits, block, 2);
    if (type == GgufType::kQ8_0)
      values[i] = half_to_float(bits) * static_cast<float>(static_cast<std::int8_t>(block[2 + i % kQ8Values]));
    else
      values[i] = decode_value(bits, type == GgufType::kF16 ? MergeDType::kF16 : MergeDType::kBf16);
  }
}

void permute_rows(std::span<float> values, std::int64_t cols, std::int64_t head_dim) {
  const std::vector<float> before(values.begin(), values.end());
  for (std::int64_t row = 0; row < std::ssize(values) / cols; ++row)
    std::copy_n(before.data() + rotated_half_row(row, head_dim) * cols, cols, values.data() + row * cols);
}

}  // namespace shori
