// Reads a merged model again, before it is published.
#include <vector>

#include "shori/util/error.h"
#include "shori/util/ordered_work.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "src/export/merged_chunks.h"
#include "src/export/merged_weights.h"
#include "src/export/read_back.h"
#include "src/export/weight_probe.h"

namespace shori {
namespace {

constexpr double kProbeTolerance = 1e-2;  // relative L2 of 16-bit rounding is about 2e-3

void probe(const MergeInput& input, const SafetensorsFile& file, const TensorEntry& entry) {
  const HfTensor& tensor = *input.base.find(entry.name);
  WeightProbe probe(input.base, &input.adapter, tensor);
  std::vector<std::uint16_t> bits(static_cast<std::size_t>(tensor.cols()));
  std::vector<float> row(bits.size());
  for (std::int64_t i = 0; i < tensor.rows(); i += probe.step()) {
    const std::size_t bytes = bits.size() * sizeof bits[0];
    file.read(entry, static_cast<std::uint64_t>(i) * bytes, bits.data(), bytes);
    std::ranges::transform(bits, row.begin(),
                           [&](std::uint16_t value) { return decode_value(value, input.options.dtype); });
    probe.add(i, row);
  }
  probe.check(kProbeTolerance);
}

void verify_tensor(const MergeInput& input, const SafetensorsFile& file, const TensorEntry& entry,
                   std::uint64_t checksum) {
  const auto read = [&](std::uint64_t offset, void* into, std::size_t bytes) { file.read(entry, offset, into, bytes); };
  if (checksum_of(entry.bytes(), read) != checksum)
    throw Error(Diagnostic("E0804", concat("re-reading the export failed: tensor `", entry.name,
                                           "` differs from what was written"))
                    .at(file.file().path()));
  // From NF4 weights, W x would be that of the quantized base.
  if (input.options.merge_base == MergeBase::kNf4) return;
  if (lora_of(input.adapter, *input.base.find(entry.name))) probe(input, file, entry);
}

}  // namespace

void verify_merged_weights(const MergeInput& input, const std::string& folder, const WrittenWeights& written) {
  ByteProgress progress("reading back", merged_bytes(input.base));
  for (const HfShard& shard : input.base.shards()) {
    const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder, shard.name, "E0804"));
    const auto& tensors = file.tensors();
    make_in_order(
        tensors.size(), merge_threads(),
        [&](std::size_t i) {
          verify_tensor(input, file, tensors[i], written.checksums.at(tensors[i].name));
          return tensors[i].bytes();
        },
        [&](std::size_t, std::uint64_t bytes) { progress.add(bytes); });
  }
  progress.finish();
}

}  // namespace shori
