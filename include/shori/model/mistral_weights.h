// The frozen base model in memory: linears in NF4 or dense, everything else dense in the activation dtype.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "shori/model/mistral_config.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/quant/nf4.h"

namespace shori {

// An NF4 weight in the memory of a device; the arrays are those of Nf4Tensor.
struct DeviceNf4 {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  OwnedTensor codes, absmax;    // [1, n] u8
  OwnedTensor absmax2, scales;  // [1, n] fp32
  float offset = 0.0f;

  std::size_t bytes() const {
    return codes.bytes() + absmax.bytes() + absmax2.bytes() + scales.bytes() + sizeof(float);
  }
};

using LinearWeight = std::variant<Nf4Tensor, OwnedTensor, DeviceNf4>;
FrozenWeight frozen_view(const LinearWeight& weight);

struct LayerWeights {
  std::array<LinearWeight, kLinearsOfLayer> linears;
  OwnedTensor input_norm;           // [1, hidden]
  OwnedTensor post_attention_norm;  // [1, hidden]
};

struct MistralWeights {
  MistralConfig config;
  DType activation = DType::kBf16;
  OwnedTensor embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  OwnedTensor final_norm;        // [1, hidden]
  OwnedTensor head;              // [vocab, hidden]; empty under tie_word_embeddings
  std::string fingerprint;       // HfModel::fingerprint() of the files they come from
  std::int64_t zero_blocks = 0;  // NF4 blocks without a value that is not zero: none in a trained model

  const OwnedTensor& head_weight() const { return head ? head : embedding; }
  std::size_t bytes() const;
};

// Memory for the weights of a model on a device, contents undefined, always in the same order.
MistralWeights allocate_weights(const MistralConfig& config, DType activation, bool quantize, DeviceArena& arena);
// Copies one tensor to its place on the device, and waits.
void upload(const OwnedTensor& from, OwnedTensor& to);
void upload(const LinearWeight& from, LinearWeight& to);

// Checksum of every frozen tensor (NF4: codes, absmax, absmax2 and offset together), to find a bit that flipped in
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
// Name of the first tensor that is not what it was.
std::optional<std::string> find_changed_tensor(const OpContext& context, const MistralWeights& weights,
                                               const BaseChecksums& expected);

}  // namespace shori
