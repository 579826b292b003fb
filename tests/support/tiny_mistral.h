// A small model with random weights in memory, an adapter with random factors, and hand-made packs: no files needed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/ops/packed_batch.h"
#include "shori/util/ignored_label.h"
#include "src/train/plan/make_batch.h"
#include "tests/support/red_zones.h"

namespace shori {

// A context for ops called outside a model.
inline OpContext cpu() {
  static Workspace workspace;
  return {.workspace = &workspace};
}

inline MistralConfig tiny_config() {
  return {.vocab_size = 160,
          .hidden_size = 64,
          .intermediate_size = 128,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16,
          .sliding_window = 0,
          .rope_theta = 1e4,
          .rms_norm_eps = 1e-5f};
}

// Standard normal times `deviation` plus `mean`, rounded to bf16: weights as a bf16 file holds them.
inline std::vector<float> random_weights(std::mt19937& random, std::int64_t count, double deviation, double mean = 0) {
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = round_to_bf16(static_cast<float>(normal(random)));
  return values;
}

inline OwnedTensor dense_tensor(std::span<const float> values, DType dtype, std::int64_t rows, std::int64_t cols) {
  OwnedTensor tensor = OwnedTensor::make(dtype, rows, cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      tensor.data<float>()[i] = values[i];
    } else {
      tensor.data<Bf16>()[i] = to_bf16(values[i]);
    }
  }
  return tensor;
}

inline Nf4Weight nf4_weight(std::span<const float> values, std::int64_t rows, std::int64_t cols) {
  Nf4Weight weight = Nf4Weight::make({rows, cols});
  weight.offset = quantize_nf4(values, weight.view())->offset;
  return weight;
}

inline MistralWeights tiny_weights(const MistralConfig& config, DType activation, bool quantize = true,
                                   unsigned seed = 1) {
  std::mt19937 random(seed);
  const auto dense = [&](std::int64_t rows, std::int64_t cols, double deviation, double mean = 0) {
    return dense_tensor(random_weights(random, rows * cols, deviation, mean), activation, rows, cols);
  };
  MistralWeights weights;
  weights.config = config;
  weights.activation = activation;
  weights.embedding = dense(config.vocab_size, config.hidden_size, 0.5);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    LayerWeights& target = weights.layers.emplace_back();
    for (const Linear linear : kLinears) {
      const LinearShape shape = shape_of(config, linear);
      const double deviation = 1.0 / std::sqrt(static_cast<double>(shape.in));
      const std::vector<float> values = random_weights(random, shape.out * shape.in, deviation);
      if (quantize) {
        target[linear] = nf4_weight(values, shape.out, shape.in);
      } else {
        target[linear] = dense_tensor(values, activation, shape.out, shape.in);
      }
    }
    target.input_norm = dense(1, config.hidden_size, 0.1, 1.0);
    target.post_attention_norm = dense(1, config.hidden_size, 0.1, 1.0);
  }
  weights.final_norm = dense(1, config.hidden_size, 0.1, 1.0);
  if (!config.tie_word_embeddings) {
    weights.head =
        dense(config.vocab_size, config.hidden_size, 1.0 / std::sqrt(static_cast<double>(config.hidden_size)));
  }
  return weights;
}

// Both factors random: with B = 0, as an adapter starts, the gradient of A would be zero everywhere.
inline void randomize(LoraAdapter& adapter, const OpContext& context, unsigned seed = 9) {
  std::mt19937 random(seed);
  for (LoraFactor& factor : adapter.factors()) {
    const double deviation = factor.is_b ? 0.05 : 1.0 / std::sqrt(static_cast<double>(factor.value.cols()));
    std::normal_distribution<double> normal(0.0, deviation);
    for (float& value : factor.values()) value = static_cast<float>(normal(random));
  }
  adapter.upload(context);
}

// One row of samples, right-padded by `padding` ids. The first id of a sample is no target; every `mask_every`-th other
// one is not either.
inline PackedBatch pack_of(const std::vector<std::vector<std::int32_t>>& samples, std::int64_t padding = 0,
                           int mask_every = 7) {
  PackedBatch batch;
  int counter = 0;
  const auto end_segment = [&](std::size_t length) {
    batch.cu_seqlens.push_back(static_cast<std::int32_t>(batch.ids.size()));
    batch.max_seqlen = std::max(batch.max_seqlen, static_cast<std::int64_t>(length));
  };
  batch.cu_seqlens.push_back(0);
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const auto& sample = samples[s];
    for (std::size_t i = 0; i < sample.size(); ++i) {
      const bool is_target = i + 1 < sample.size() && ++counter % mask_every != 0;
      batch.ids.push_back(sample[i]);
      batch.labels.push_back(is_target ? sample[i + 1] : kIgnoredLabel);
      batch.position_ids.push_back(static_cast<std::int32_t>(i));
      batch.targets += is_target ? 1 : 0;
    }
    end_segment(sample.size());
    batch.samples.push_back(static_cast<std::uint32_t>(s));
  }
  batch.real_tokens = static_cast<std::int64_t>(batch.ids.size());
  if (padding > 0) {
    for (std::int64_t i = 0; i < padding; ++i) {
      batch.ids.push_back(kPadId);
      batch.labels.push_back(kIgnoredLabel);
      batch.position_ids.push_back(0);
    }
    end_segment(static_cast<std::size_t>(padding));
  }
  return batch;
}

inline std::vector<std::int32_t> random_sample(std::mt19937& random, std::int64_t length, std::int64_t vocab_size) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(length));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocab_size));
  return ids;
}

inline std::vector<std::vector<std::int32_t>> random_samples(std::vector<std::int64_t> lengths, std::int64_t vocab_size,
                                                             unsigned seed = 4) {
  std::mt19937 random(seed);
  std::vector<std::vector<std::int32_t>> samples;
  for (const std::int64_t length : lengths) samples.push_back(random_sample(random, length, vocab_size));
  return samples;
}

}  // namespace shori
