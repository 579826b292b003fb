#include "shori/model/load_mistral.h"

#include "shori/util/error.h"
#include "src/model/weights/nf4_cache.h"
#include "src/model/weights/quantized_parts.h"
#include "src/model/weights/weight_loader.h"

namespace shori {

MistralConfig mistral_config(const HfModel& model) {
  const HfModelConfig& config = model.config();
  return {.vocab_size = config.vocab_size,
          .hidden_size = config.hidden_size,
          .intermediate_size = config.intermediate_size,
          .layers = config.num_hidden_layers,
          .heads = config.num_attention_heads,
          .kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .sliding_window = config.sliding_window,
          .rope_theta = config.rope_theta,
          .rms_norm_eps = static_cast<float>(config.rms_norm_eps),
          .tie_word_embeddings = config.tie_word_embeddings,
          .plain_scales = needs_plain_scales(model)};
}

namespace {

MistralWeights make_weights(const HfModel& model, const LoadOptions& options) {
  if (options.arena != nullptr) {
    return allocate_weights(mistral_config(model), options.activation, options.quantize, *options.arena);
  }
  MistralWeights weights;
  weights.config = mistral_config(model);
  weights.activation = options.activation;
  weights.layers.resize(static_cast<std::size_t>(weights.config.layers));
  return weights;
}

void load_files(const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
  const bool on_device = options.arena != nullptr;
  const StreamShape shape = stream_shape(on_device ? Device::kCuda : Device::kCpu, options.threads);
  const PieceBuffers buffers(on_device, shape.buffers, shape.piece_bytes);
  std::vector<StreamedTensor> streamed;
  for (const HfTensor& tensor : model.tensors()) streamed.push_back({&model.shard_file(tensor.shard), &tensor.entry});
  std::map<std::string, Place> places = places_of(weights);
  const auto loader =
      on_device ? make_device_loader(model, weights, options) : make_host_loader(model, weights, options);
  TensorStream pieces(std::move(streamed),
                      {.buffers = buffers.all(), .piece_bytes = shape.piece_bytes, .threads = shape.readers});
  const std::uint64_t total = model.tensor_bytes();
  std::uint64_t done = 0;
  while (const auto piece = pieces.next()) {
    const HfTensor& tensor = model.tensors()[piece->tensor];
    loader->take(tensor, places.at(tensor.weight), *piece, pieces);
    done += piece->bytes;
    if (options.progress) options.progress(done, total);
  }
  loader->finish(pieces);
  for (std::size_t shard = 0; shard < model.shards().size(); ++shard) model.shard_file(shard).file().check_unchanged();
  std::vector<Sha256Digest> digests;
  for (std::size_t i = 0; i < model.tensors().size(); ++i) digests.push_back(pieces.digest(i));
  weights.fingerprint = model.fingerprint_of(digests);
}

}  // namespace

MistralWeights load_mistral(const HfModel& model, const LoadOptions& options) {
  SHORI_CHECK(options.quantize || !model.config().is_nf4, "a base that is NF4 in its files has no 16-bit weights");
  check_nf4_levels(model);
  const auto cache = options.quantize && !model.config().is_nf4
                         ? find_nf4_cache(options.nf4_cache, model, options.activation)
                         : std::optional<Nf4CachePath>();
  MistralWeights weights = make_weights(model, options);
  if (cache && read_nf4_cache(*cache, model, options, weights)) return weights;
  if (options.arena == nullptr) weights = make_weights(model, options);
  load_files(model, options, weights);
  if (cache) write_nf4_cache(*cache, model, weights);
  return weights;
}

}  // namespace shori
