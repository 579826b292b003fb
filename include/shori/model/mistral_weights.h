// The frozen base model in memory: linears in NF4 or dense, everything else dense in the activation dtype.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "shori/io/mistral_config.h"
#include "shori/model/nf4_weight.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

using LinearWeight = std::variant<Nf4Weight, OwnedTensor>;  // NF4 or dense
FrozenWeight frozen_view(const LinearWeight& weight);

struct LayerWeights {
  std::array<LinearWeight, kLinearCount> linears;
  OwnedTensor input_norm;           // [1, hidden]
  OwnedTensor post_attention_norm;  // [1, hidden]

  LinearWeight& operator[](Linear linear) { return linears[index_of(linear)]; }
  const LinearWeight& operator[](Linear linear) const { return linears[index_of(linear)]; }
};

struct MistralWeights {
  MistralConfig config;
  DType activation = DType::kBf16;
  OwnedTensor embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  OwnedTensor final_norm;        // [1, hidden]
  OwnedTensor head;              // [vocab, hidden]; empty under tie_word_embeddings
  std::string fingerprint;       // HfModel::fingerprint() of the files they come from
  std::int64_t zero_blocks = 0;  // NF4 blocks that hold only zeros: none in a trained model

  const OwnedTensor& head_weight() const { return head ? head : embedding; }
  std::size_t bytes() const;
};

// The form in which weights are kept, as opposed to the shapes of the architecture.
struct WeightFormat {
  DType activation = DType::kBf16;  // of everything that is not NF4
  bool quantize = true;             // linears are NF4, else dense
  bool nested = true;               // scales of NF4: nested, else flat
};

// Memory for the weights of a model, contents undefined, always in the same order. `arena`: of a device; null: the
// heap.
MistralWeights allocate_weights(const MistralConfig& config, const WeightFormat& format, DeviceArena* arena);

// Checksum of every frozen tensor (NF4: of all its arrays and the offset together), to find a bit that flipped in
// memory.
struct BaseChecksums {
  struct Entry {
    std::string tensor;  // "model.layers.0.self_attn.q_proj.weight"
    std::uint64_t sum = 0;
  };
  std::vector<Entry> entries;

  // One number for all of them.
  std::uint64_t combined() const;
};
BaseChecksums checksum_base(const OpContext& context, const MistralWeights& weights);
// Name of the first tensor whose checksum differs.
std::optional<std::string> find_changed_tensor(const OpContext& context, const MistralWeights& weights,
                                               const BaseChecksums& expected);

}  // namespace shori
