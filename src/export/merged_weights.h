// The weights of a merged model: written shard by shard, then read again and compared.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shori/export/merge.h"
#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/util/bf16.h"
#include "shori/util/signals.h"

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

// visit(first, rows): ranges of whole rows, multiples of `multiple`, of about kValuesAtOnce values.
inline constexpr std::int64_t kValuesAtOnce = 1 << 22;  // fp32 values of one chunk: 16 MiB
template <typename Visit>
void for_each_chunk(const HfTensor& tensor, std::int64_t multiple, const Visit& visit) {
  const std::int64_t step = std::max<std::int64_t>(1, kValuesAtOnce / tensor.cols() / multiple) * multiple;
  for (std::int64_t first = 0; first < tensor.rows(); first += step) {
    throw_if_stop_requested();
    visit(first, std::min(step, tensor.rows() - first));
  }
}

// The fp32 values of one tensor, merged: W + alpha / r * (B . A), or W where it has no adapter or `adapter` is null.
class MergedRows {
 public:
  // With kNf4 an adapted tensor is quantized here.
  MergedRows(const HfModel& base, const ExportSource* adapter, MergeBase merge_base, const HfTensor& tensor);
  ~MergedRows();

  bool adapted() const;
  // [rows, cols]. `before` receives the base's own values.
  std::vector<float> read(std::int64_t first, std::int64_t rows, std::vector<float>* before = nullptr) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
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
inline float decode_value(std::uint16_t bits, MergeDType dtype) {
  return dtype == MergeDType::kBf16 ? to_float(Bf16{bits}) : half_to_float(bits);
}

// Writes every shard of the base, merged, to `folder`. Returns the SHA-256 of each tensor's bytes by name. E0801 if not
// exactly the adapted tensors changed, E0804 for a value that float16 cannot hold, E0512 if writing fails.
std::map<std::string, std::string> write_merged_weights(const MergeInput& input, const std::string& folder);

// Reads every shard again. E0804 if a tensor's bytes are not those that were written, E0803 if W' x is not
// W x + alpha / r * B (A x) for a random x.
void verify_merged_weights(const MergeInput& input, const std::string& folder,
                           const std::map<std::string, std::string>& digests);

}  // namespace shori
