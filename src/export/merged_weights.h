// The weights of a merged model: written shard by shard, then read again and compared.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>

#include "shori/export/merge.h"
#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/util/bf16.h"
#include "shori/util/hash.h"

namespace shori {

// What a merge reads. All of it outlives the functions below.
struct MergeInput {
  const MergeOptions& options;
  const HfModel& base;
  const ExportSource& adapter;
};

// E0801 unless `changed` names exactly the tensors that the adapter has factors of, and all its factors.
void check_changes(const HfModel& base, const ExportSource& adapter, const std::set<std::string>& changed);

// A value in the written type and back. NaN stays NaN with the upper bits of its payload.
inline std::uint16_t encode_value(float value, MergeDType dtype) {
  if (dtype == MergeDType::kF16) return float_to_half(value);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return static_cast<std::uint16_t>(bits >> 16 | 64);
  return to_bf16(value).bits;
}
// encode_value() of many values to bf16.
void encode_bf16(std::span<const float> values, std::uint16_t* out);
inline float decode_value(std::uint16_t bits, MergeDType dtype) {
  return dtype == MergeDType::kBf16 ? to_float(Bf16{bits}) : half_to_float(bits);
}

// Bytes of all tensors in 16 bits.
std::uint64_t merged_bytes(const HfModel& base);

// What became of the weights.
struct WrittenWeights {
  std::map<std::string, std::uint64_t> checksums;    // XXH64 of each tensor's bytes, by name
  std::map<std::string, std::string> files;          // SHA-256 of each shard, by name
  std::map<std::string, Sha256Digest> base_digests;  // of each tensor in the base
  std::set<std::string> changed;                     // tensors that are not the base's
};

// Writes every shard of the base, merged, to `folder`. E0804 for a value that float16 cannot hold, E0512 if writing
// fails.
WrittenWeights write_merged_weights(const MergeInput& input, const std::string& folder);

// Reads every shard again. E0804 if a tensor's bytes are not those that were written, E0803 if W' x is not
// W x + alpha / r * B (A x) for a random x.
void verify_merged_weights(const MergeInput& input, const std::string& folder, const WrittenWeights& written);

}  // namespace shori
