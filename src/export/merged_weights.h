// The weights of a merged model: written shard by shard, then read again and compared.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shori/export/merge.h"
#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/util/bf16.h"
#include "shori/util/ordered_work.h"
#include "shori/util/signals.h"
#include "shori/util/threads.h"

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

inline constexpr std::int64_t kValuesAtOnce = 1 << 22;  // fp32 values of one chunk: 16 MiB

// A tensor to merge, cut at multiples of `row_multiple` rows.
struct MergeSource {
  const HfTensor* tensor;
  std::int64_t row_multiple = 1;
};

// Whole rows of a tensor.
struct ChunkPosition {
  const HfTensor* tensor;
  std::size_t index;  // of the tensor in the list
  std::int64_t first, rows;
  bool is_last;  // of its tensor
};
// Their fp32 values, merged: W + alpha / r * (B . A), or W where the tensor has no adapter.
struct MergedChunk : ChunkPosition {
  std::vector<float> values;  // [rows, cols]
  std::vector<float> before;  // the base's own, where an adapter changes them
};
std::vector<ChunkPosition> chunks_of(const std::vector<MergeSource>& sources);

// The tensors of a list. Several threads may read at once. With kNf4 an adapted tensor is quantized when its first chunk
// is read, and the result is kept until forget().
class MergedTensors {
 public:
  MergedTensors(const HfModel& base, const ExportSource* adapter, MergeBase merge_base,
                const std::vector<MergeSource>& sources);
  ~MergedTensors();
  MergedChunk read(const ChunkPosition& position);
  void forget(std::size_t index);

 private:
  struct Factors;
  const HfModel& base_;
  const ExportSource* adapter_;
  MergeBase merge_base_;
  std::vector<Factors> factors_;  // by tensor
};

// encode(MergedChunk) on all cores, write(ChunkPosition, its result) on this thread in the order of the list.
inline constexpr int kMergeThreads = 8;  // each holds about 64 MiB
template <typename Encode, typename Write>
void for_each_merged_chunk(const HfModel& base, const ExportSource* adapter, MergeBase merge_base,
                           const std::vector<MergeSource>& sources, const Encode& encode, const Write& write) {
  MergedTensors tensors(base, adapter, merge_base, sources);
  const std::vector<ChunkPosition> chunks = chunks_of(sources);
  make_in_order(
      chunks.size(), std::min(usable_cores(), kMergeThreads),
      [&](std::size_t i) {
        throw_if_stop_requested();
        return encode(tensors.read(chunks[i]));
      },
      [&](std::size_t i, const auto& encoded) {
        write(chunks[i], encoded);
        if (chunks[i].is_last) tensors.forget(chunks[i].index);
      });
}

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

// Bytes of all tensors in 16 bits.
std::uint64_t merged_bytes(const HfModel& base);

// Writes every shard of the base, merged, to `folder`. Returns the SHA-256 of each tensor's bytes by name. E0801 if not
// exactly the adapted tensors changed, E0804 for a value that float16 cannot hold, E0512 if writing fails.
std::map<std::string, std::string> write_merged_weights(const MergeInput& input, const std::string& folder);

// Reads every shard again. E0804 if a tensor's bytes are not those that were written, E0803 if W' x is not
// W x + alpha / r * B (A x) for a random x.
void verify_merged_weights(const MergeInput& input, const std::string& folder,
                           const std::map<std::string, std::string>& digests);

}  // namespace shori
