#include "src/export/merged_weights.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "shori/io/half_rows.h"
#include "shori/io/safetensors_writer.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/xxh64.h"
#include "src/export/merged_chunks.h"

namespace shori {
namespace {

const std::vector<std::pair<std::string, std::string>> kMetadata = {{"format", "pt"}};

bool is_zero_or_subnormal_half(std::uint16_t bits) { return (bits & 0x7c00) == 0; }
bool is_inf_or_nan_half(std::uint16_t bits) { return (bits & 0x7c00) == 0x7c00; }

[[noreturn]] void refuse_value(const HfTensor& tensor, float value) {
  throw Error(
      Diagnostic("E0804", concat(tensor.name, " holds ", std::to_string(value), ", beyond the range of float16"))
          .help("`--dtype bf16`"));
}

// Returns how many values became zero or subnormal.
std::int64_t encode_half(const HfTensor& tensor, std::span<const float> values, std::uint16_t* out) {
  to_halves(values, out);
  std::int64_t vanished = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (is_inf_or_nan_half(out[i]) && std::isfinite(values[i])) refuse_value(tensor, values[i]);
    vanished += values[i] != 0.0f && is_zero_or_subnormal_half(out[i]) ? 1 : 0;
  }
  return vanished;
}

// Whether a value of an adapted chunk is not the base's. Almost always the first one says so.
bool is_changed(const MergedChunk& chunk, const std::uint16_t* bits, MergeDType dtype) {
  std::vector<float> row;
  const std::int64_t cols = chunk.tensor->cols();
  for (std::int64_t i = 0; i < chunk.rows; ++i, bits += cols) {
    chunk.base_row(i, row);
    if (!std::equal(row.begin(), row.end(), bits,
                    [&](float value, std::uint16_t written) { return encode_value(value, dtype) == written; }))
      return true;
  }
  return false;
}

EncodedChunk encode(const MergedChunk& chunk, MergeDType dtype, std::byte* out) {
  const auto bits = reinterpret_cast<std::uint16_t*>(out);
  EncodedChunk encoded{{out, chunk.values.size_bytes() / 2}};
  if (dtype == MergeDType::kF16)
    encoded.vanished = encode_half(*chunk.tensor, chunk.values, bits);
  else
    encode_bf16(chunk.values, bits);
  encoded.changed = chunk.is_adapted && is_changed(chunk, bits, dtype);
  return encoded;
}

// Writes the shards and remembers what became of each tensor. Threads read, merge and encode chunks; this one hashes
// and writes them in order.
class WeightWriter {
 public:
  explicit WeightWriter(const MergeInput& input)
      : input_(input), dtype_(input.options.dtype), progress_("merging", merged_bytes(input.base)) {}

  WrittenWeights write(const std::string& folder) {
    for (std::size_t shard = 0; shard < input_.base.shards().size(); ++shard) write_shard(folder, shard);
    if (vanished_ > 0) log_info(concat(vanished_, " values became zero or subnormal in float16"));
    progress_.finish();
    return std::move(written_);
  }

 private:
  void write_shard(const std::string& folder, std::size_t shard) {
    const FileDType dtype = dtype_ == MergeDType::kBf16 ? FileDType::kBf16 : FileDType::kF16;
    std::vector<MergeSource> tensors;
    std::vector<NamedArray> arrays;
    for (const HfTensor& tensor : input_.base.tensors()) {
      if (tensor.shard != shard) continue;
      tensors.push_back({&tensor});
      arrays.push_back({tensor.name, dtype, tensor.shape});
    }
    const std::string& name = input_.base.shards()[shard].name;
    const std::string path = join_path(folder, name);
    try {
      Sha256Pair hashes;
      const std::string header = make_safetensors_header(arrays, kMetadata);
      hashes.update({}, std::as_bytes(std::span(header)));
      SafetensorsWriter file(path, arrays, kMetadata);
      write_tensors(std::move(tensors), file, dtype, hashes);
      file.finish();
      written_.files[name] = to_hex(hashes.finish_second());
    } catch (const IoFailure& failure) {
      throw Error(Diagnostic("E0512", concat("writing ", path, " failed: ", error_text(failure.error)))
                      .note("nothing is left under the target's name"));
    }
  }

  void write_tensors(std::vector<MergeSource> tensors, SafetensorsWriter& file, FileDType dtype, Sha256Pair& hashes) {
    Xxh64 checksum;
    for_each_merged_chunk(
        {input_.base, &input_.adapter, input_.options.merge_base, std::move(tensors), &written_.base_digests, &hashes,
         dtype},
        [&](const MergedChunk& chunk, std::byte* out) { return encode(chunk, dtype_, out); },
        [&](const ChunkPosition& chunk, const EncodedChunk& encoded) {
          file.append(encoded.bytes.data(), encoded.bytes.size());
          checksum.update(encoded.bytes.data(), encoded.bytes.size());
          progress_.add(encoded.bytes.size());
          vanished_ += encoded.vanished;
          if (encoded.changed) written_.changed.insert(chunk.tensor->name);
          if (!chunk.is_last) return;
          written_.checksums[chunk.tensor->name] = checksum.finish();
          checksum = Xxh64();
        });
  }

  const MergeInput& input_;
  MergeDType dtype_;
  ByteProgress progress_;
  std::int64_t vanished_ = 0;
  WrittenWeights written_;
};

}  // namespace

void encode_bf16(std::span<const float> values, std::uint16_t* out) {
  // A constant number of steps without a branch, so that the compiler makes vectors of them.
  constexpr std::size_t kStep = 64;
  std::size_t i = 0;
  for (; i + kStep <= values.size(); i += kStep) {
    for (std::size_t k = i; k < i + kStep; ++k) {
      const auto bits = std::bit_cast<std::int32_t>(values[k]);
      const std::int32_t upper = bits >> 16;
      const std::int32_t rounded = static_cast<std::int32_t>(static_cast<std::uint32_t>(bits) + 0x7fffu +
                                                             (static_cast<std::uint32_t>(upper) & 1u)) >>
                                   16;
      const std::int32_t is_nan = (bits & 0x7fffffff) > 0x7f800000 ? -1 : 0;
      out[k] = static_cast<std::uint16_t>((rounded & ~is_nan) | ((upper | 64) & is_nan));
    }
  }
  for (; i < values.size(); ++i) out[i] = encode_value(values[i], MergeDType::kBf16);
}

// A factor B of zeros adds nothing, and such a merge is refused.
void check_changes(const HfModel& base, const ExportSource& adapter, const std::set<std::string>& changed) {
  std::size_t adapted = 0;
  std::string unchanged;
  for (const HfTensor& tensor : base.tensors()) {
    if (!lora_of(adapter, tensor)) continue;
    ++adapted;
    if (!changed.contains(tensor.name)) unchanged += " " + tensor.name;
  }
  const std::size_t expected = adapter.tensors.size() / 2;
  if (changed.size() == adapted && adapted == expected) return;
  throw Error(Diagnostic("E0801", concat("merge changed ", changed.size(), " of ", base.tensors().size(),
                                         " tensors, expected ", expected))
                  .note(unchanged.empty() ? "the adapter has modules that this base does not"
                                          : "unchanged:" + unchanged.substr(0, 300))
                  .help("check that adapter and base belong together, and that the adapter was trained"));
}

std::uint64_t merged_bytes(const HfModel& base) {
  std::uint64_t bytes = 0;
  for (const HfTensor& tensor : base.tensors()) bytes += static_cast<std::uint64_t>(tensor.rows() * tensor.cols()) * 2;
  return bytes;
}

WrittenWeights write_merged_weights(const MergeInput& input, const std::string& folder) {
  return WeightWriter(input).write(folder);
}

}  // namespace shori
