#include "shori/model/load_mistral.h"

#include "shori/util/error.h"
#include "src/model/weights/device_loader.h"
#include "src/model/weights/host_loader.h"
#include "src/model/weights/nf4_cache.h"

namespace shori {

WeightFormat weight_format(const HfModel& model, DType activation, bool quantize) {
  return {.activation = activation, .quantize = quantize, .nested = has_nested_scales(model)};
}

namespace {

// Streams every tensor of the files through a HostLoader or a DeviceLoader into the weights.
template <typename Loader>
void load_files(const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
  const bool on_device = options.arena != nullptr;
  const StreamShape shape = stream_shape(on_device ? Device::kCuda : Device::kCpu, options.threads);
  const ChunkBuffers buffers(on_device, shape.buffers, shape.chunk_bytes);
  std::vector<StreamedTensor> streamed;
  for (const HfTensor& tensor : model.tensors()) streamed.push_back({&model.shard_file(tensor.shard), &tensor.entry});
  TensorStream chunks(std::move(streamed),
                      {.buffers = buffers.all(), .chunk_bytes = shape.chunk_bytes, .threads = shape.readers});
  const std::map<std::string, WeightSlot> slots = weight_slots(weights);
  Loader loader(model, weights, options, chunks);
  std::uint64_t done = 0;
  while (const auto chunk = chunks.next()) {
    const HfTensor& tensor = model.tensors()[chunk->tensor];
    loader.load(tensor, slots.at(tensor.weight), *chunk);
    done += chunk->bytes;
    if (options.progress) options.progress(done, model.tensor_bytes());
  }
  loader.finish();
  for (std::size_t shard = 0; shard < model.shards().size(); ++shard) model.shard_file(shard).file().check_unchanged();
  std::vector<Sha256Digest> digests;
  for (std::size_t i = 0; i < model.tensors().size(); ++i) digests.push_back(chunks.digest(i));
  weights.fingerprint = model.fingerprint_of(digests);
}

}  // namespace

MistralWeights load_mistral(const HfModel& model, const LoadOptions& options) {
  SHORI_CHECK(options.quantize || !model.config().is_nf4, "a base that is NF4 in its files has no 16-bit weights");
  check_nf4_levels(model);
  const auto cache = options.quantize && !model.config().is_nf4
                         ? find_nf4_cache(options.nf4_cache, model, options.activation)
                         : std::optional<Nf4CachePath>();
  MistralWeights weights =
      allocate_weights(model.config(), weight_format(model, options.activation, options.quantize), options.arena);
  if (cache && read_nf4_cache(*cache, model, options, weights)) return weights;
  if (options.arena == nullptr) {
    load_files<HostLoader>(model, options, weights);
  } else {
    load_files<DeviceLoader>(model, options, weights);
  }
  if (cache) write_nf4_cache(*cache, model, weights, options.arena != nullptr);
  return weights;
}

}  // namespace shori
