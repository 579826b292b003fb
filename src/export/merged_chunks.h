// The weights of base + adapter, a chunk of rows at a time: read in order, merged and encoded by several threads, written
// in order. Memory is that of threads + 1 chunks, however large the model is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/export/merge.h"
#include "shori/io/hf_model.h"
#include "shori/util/hash.h"

namespace shori {

// Both factors of one linear.
struct LoraPair {
  const NamedArray* a;  // [rank, in]
  const NamedArray* b;  // [out, rank]

  std::int64_t rank() const { return a->shape[0]; }
};
// Those of the tensor's module; nullopt if it has no adapter. E0511 if their shapes do not fit the tensor.
std::optional<LoraPair> lora_of(const ExportSource& adapter, const HfTensor& tensor);

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

  std::int64_t values() const { return rows * tensor->cols(); }
};
std::vector<ChunkPosition> chunks_of(const std::vector<MergeSource>& sources);

// Their fp32 values, merged: W + alpha / r * (B . A), or W where the tensor has no adapter.
struct MergedChunk : ChunkPosition {
  std::span<const float> values;  // [rows, cols]
  bool is_adapted = false;
  const std::byte* read = nullptr;  // the rows as the base has them

  std::span<const float> row(std::int64_t index) const;
  // One row of the base, widened into `row` [cols].
  void base_row(std::int64_t index, std::vector<float>& row) const;
};

// Rows as they are written.
struct EncodedChunk {
  std::span<const std::byte> bytes;
  bool changed = false;       // a value is not the base's
  std::int64_t vanished = 0;  // values that became zero or subnormal
};

struct MergeJob {
  const HfModel& base;
  const ExportSource* adapter;  // null: the base as it is
  MergeBase merge_base;
  std::vector<MergeSource> sources;
  std::map<std::string, Sha256Digest>* base_digests = nullptr;  // gets the SHA-256 of each tensor in the base by name
  // Hashes each tensor in the base (first) for base_digests together with all encoded bytes (second).
  Sha256Pair* hashes = nullptr;
  // Tensors without an adapter that the base has in this type are written as they are, without encode().
  std::optional<FileDType> written_dtype = {};
};

// Encodes to `out`, which has room for 4 bytes a value. Called by several threads.
using EncodeChunk = std::function<EncodedChunk(const MergedChunk& chunk, std::byte* out)>;
// Called on this thread, in the order of the list.
using WriteChunk = std::function<void(const ChunkPosition& position, const EncodedChunk& encoded)>;
// Throws what encode() and write() throw; E0213 if a file of the base changed meanwhile; Stopped. With kNf4 an adapted
// tensor is quantized when its first chunk is read, and kept until its last is written.
void for_each_merged_chunk(const MergeJob& job, const EncodeChunk& encode, const WriteChunk& write);

// Threads that work on chunks.
int merge_threads();

}  // namespace shori
