#include "shori/model/load_mistral.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/signals.h"

namespace shori {

namespace {

constexpr std::int64_t kPieceElements = 1 << 18;  // for each thread; 1 MiB of fp32 stays in its cache

[[noreturn]] void refuse_value(const HfTensor& tensor, std::int64_t element, float value) {
  const std::string kind = std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
  throw Error(Diagnostic("E0210", "`" + tensor.name + "` holds " + kind + " at element " + std::to_string(element))
                  .note("row " + std::to_string(element / tensor.cols()) + ", column " +
                        std::to_string(element % tensor.cols()))
                  .cure("get the model again from its publisher"));
}

// Reads tensors piece by piece, and reports how far it is.
class Reader {
 public:
  Reader(const HfModel& model, const LoadOptions& options)
      : model_(model),
        options_(options),
        piece_elements_(kPieceElements * std::clamp(options.threads, 1, 16)),
        total_(model.tensor_bytes()) {}

  // take(values) for each piece, in order; it returns the index of a NaN or Inf, counted from the start of the tensor.
  template <typename Take>
  void read(const HfTensor& tensor, const Take& take) {
    const std::int64_t rows_of_piece = std::max<std::int64_t>(1, piece_elements_ / tensor.cols());
    for (std::int64_t first = 0; first < tensor.rows(); first += rows_of_piece) {
      throw_if_stop_requested();
      const std::int64_t rows = std::min(rows_of_piece, tensor.rows() - first);
      piece_.resize(static_cast<std::size_t>(rows * tensor.cols()));
      model_.read_rows(tensor, first, rows, piece_.data());
      if (const std::optional<std::int64_t> bad = take(std::span<const float>(piece_))) {
        refuse_value(tensor, *bad, piece_[static_cast<std::size_t>(*bad - first * tensor.cols())]);
      }
      done_ += static_cast<std::uint64_t>(piece_.size()) * dtype_size(tensor.dtype);
      if (options_.progress) options_.progress(done_, total_);
    }
  }

 private:
  const HfModel& model_;
  const LoadOptions& options_;
  std::int64_t piece_elements_;
  std::vector<float> piece_;
  std::uint64_t done_ = 0, total_;
};

// Index of the first NaN or Inf.
std::optional<std::size_t> find_non_finite(std::span<const float> values) {
  const auto found = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (found == values.end()) return std::nullopt;
  return static_cast<std::size_t>(found - values.begin());
}

OwnedTensor read_dense(Reader& reader, const HfTensor& tensor, DType dtype) {
  OwnedTensor result = OwnedTensor::make(dtype, tensor.rows(), tensor.cols());
  std::int64_t done = 0;
  reader.read(tensor, [&](std::span<const float> values) -> std::optional<std::int64_t> {
    if (const auto bad = find_non_finite(values)) return done + static_cast<std::int64_t>(*bad);
    if (dtype == DType::kF32) {
      std::ranges::copy(values, result.data<float>() + done);
    } else {
      std::ranges::transform(values, result.data<Bf16>() + done, to_bf16);
    }
    done += std::ssize(values);
    return std::nullopt;
  });
  return result;
}

Nf4Tensor read_nf4(Reader& reader, const HfTensor& tensor, int threads) {
  Nf4Quantizer quantizer(tensor.rows(), tensor.cols(), threads);
  reader.read(tensor, [&](std::span<const float> values) { return quantizer.add(values); });
  return quantizer.finish();
}

// "12.mlp.up_proj.weight" behind "model.layers." as layer 12 and "mlp.up_proj.weight".
std::pair<std::size_t, std::string_view> split_layer(std::string_view rest) {
  std::size_t layer = 0;
  const auto end = std::from_chars(rest.data(), rest.data() + rest.size(), layer).ptr;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()) + 1);
  return {layer, rest};
}

// A loaded tensor to where it is to be: memory on the device that was made before, or the host's.
template <typename Tensor, typename Place>
void put(Tensor loaded, Place& place, const LoadOptions& options) {
  if (options.arena == nullptr) {
    place = std::move(loaded);
  } else {
    upload(loaded, place);
  }
}

void load_layer_tensor(Reader& reader, const HfTensor& tensor, const LoadOptions& options, MistralWeights& weights) {
  constexpr std::string_view kPrefix = "model.layers.";
  const auto [number, rest] = split_layer(std::string_view(tensor.name).substr(kPrefix.size()));
  LayerWeights& layer = weights.layers.at(number);
  const std::string_view module = rest.substr(0, rest.rfind('.'));
  const auto kind = std::ranges::find_if(kLinearKinds, [&](const LinearKind& linear) { return linear.path == module; });
  if (kind == kLinearKinds.end()) {
    SHORI_CHECK(module == "input_layernorm" || module == "post_attention_layernorm", "unknown tensor " + tensor.name);
    OwnedTensor& norm = module == "input_layernorm" ? layer.input_norm : layer.post_attention_norm;
    put(read_dense(reader, tensor, options.activation), norm, options);
    return;
  }
  LinearWeight& linear = layer.linears[static_cast<std::size_t>(kind - kLinearKinds.begin())];
  if (options.quantize) {
    Nf4Tensor quantized = read_nf4(reader, tensor, options.threads);
    weights.zero_blocks += quantized.zero_blocks;
    put(LinearWeight(std::move(quantized)), linear, options);
  } else {
    put(LinearWeight(read_dense(reader, tensor, options.activation)), linear, options);
  }
}

}  // namespace

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
          .tie_word_embeddings = config.tie_word_embeddings};
}

MistralWeights load_mistral(const HfModel& model, const LoadOptions& options) {
  MistralWeights weights;
  if (options.arena != nullptr) {
    weights = allocate_weights(mistral_config(model), options.activation, options.quantize, *options.arena);
  } else {
    weights.config = mistral_config(model);
    weights.activation = options.activation;
    weights.layers.resize(static_cast<std::size_t>(weights.config.layers));
  }
  Reader reader(model, options);
  for (const HfTensor& tensor : model.tensors()) {
    if (tensor.name == "model.embed_tokens.weight") {
      put(read_dense(reader, tensor, options.activation), weights.embedding, options);
    } else if (tensor.name == "model.norm.weight") {
      put(read_dense(reader, tensor, options.activation), weights.final_norm, options);
    } else if (tensor.name == "lm_head.weight") {
      put(read_dense(reader, tensor, options.activation), weights.head, options);
    } else {
      load_layer_tensor(reader, tensor, options, weights);
    }
  }
  for (std::size_t shard = 0; shard < model.shards().size(); ++shard) model.shard_file(shard).file().check_unchanged();
  return weights;
}

}  // namespace shori
