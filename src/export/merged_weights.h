// The weights of a merged model: written shard by shard, then read again and compared.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "shori/export/merge.h"
#include "shori/io/hf_model.h"

namespace shori {

// What a merge reads. All of it outlives the functions below.
struct MergeInput {
  const MergeOptions& options;
  const HfModel& base;
  const ExportSource& adapter;
};

// Both factors of one linear.
struct LoraPair {
  const NamedArray* a;  // [rank, in]
  const NamedArray* b;  // [out, rank]

  std::int64_t rank() const { return a->shape[0]; }
};
// Those of the tensor's module; nullopt if it has no adapter. E0511 if their shapes do not fit the tensor.
std::optional<LoraPair> lora_of(const ExportSource& adapter, const HfTensor& tensor);

// A value in the written type and back.
std::uint16_t encode_value(float value, MergeDType dtype);
float decode_value(std::uint16_t bits, MergeDType dtype);

// Writes every shard of the base, merged, to `folder`. Returns the SHA-256 of each tensor's bytes by name. E0801 if not
// exactly the adapted tensors changed, E0804 for a value that float16 cannot hold, E0512 if writing fails.
std::map<std::string, std::string> write_merged_weights(const MergeInput& input, const std::string& folder);

// Reads every shard again. E0804 if a tensor's bytes are not those that were written, E0803 if W' x is not
// W x + alpha / r * B (A x) for a random x.
void verify_merged_weights(const MergeInput& input, const std::string& folder,
                           const std::map<std::string, std::string>& digests);

}  // namespace shori
