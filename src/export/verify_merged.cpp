// Reads a merged model again, before it is published.
#include <algorithm>
#include <span>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/export/merged_weights.h"
#include "src/export/weight_probe.h"

namespace shori {
namespace {

constexpr double kProbeTolerance = 1e-2;  // relative L2 of 16-bit rounding is about 2e-3

void probe(const MergeInput& input, const HfTensor& tensor, std::span<const std::uint16_t> written) {
  WeightProbe probe(input.base, &input.adapter, tensor);
  std::vector<float> row(static_cast<std::size_t>(tensor.cols()));
  for (std::int64_t i = 0; i < tensor.rows(); i += probe.step()) {
    const auto bits = written.subspan(static_cast<std::size_t>(i) * row.size(), row.size());
    std::ranges::transform(bits, row.begin(),
                           [&](std::uint16_t value) { return decode_value(value, input.options.dtype); });
    probe.add(i, row);
  }
  probe.check(kProbeTolerance);
}

void verify_tensor(const MergeInput& input, const SafetensorsFile& file, const TensorEntry& entry,
                   const std::string& digest) {
  std::vector<std::uint16_t> bits(entry.bytes() / 2);
  file.read(entry, 0, bits.data(), entry.bytes());
  if (to_hex(sha256(bits.data(), entry.bytes())) != digest)
    throw Error(Diagnostic("E0804", concat("re-reading the export failed: tensor `", entry.name,
                                           "` differs from what was written"))
                    .at(file.file().path()));
  // From NF4 weights, W x would be that of the quantized base.
  if (input.options.merge_base == MergeBase::kNf4) return;
  const HfTensor& tensor = *input.base.find(entry.name);
  if (lora_of(input.adapter, tensor)) probe(input, tensor, bits);
}

}  // namespace

void verify_merged_weights(const MergeInput& input, const std::string& folder,
                           const std::map<std::string, std::string>& digests) {
  for (const HfShard& shard : input.base.shards()) {
    const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder, shard.name, "E0804"));
    for (const TensorEntry& entry : file.tensors()) {
      throw_if_stop_requested();
      verify_tensor(input, file, entry, digests.at(entry.name));
    }
  }
}

}  // namespace shori
