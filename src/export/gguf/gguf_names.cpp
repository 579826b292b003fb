#include "src/export/gguf/gguf_names.h"

#include <array>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, kLinearCount> kNames = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                               "ffn_gate", "ffn_up", "ffn_down"};

class WeightList {
 public:
  WeightList(const HfModel& base, GgufType type) : base_(base), type_(type) {}

  void add(const std::string& source, const std::string& target, bool permuted = false) {
    const HfTensor* tensor = base_.find(source);
    SHORI_CHECK(tensor != nullptr, "a model has all its tensors: " + source);
    GgufTensor written{target, {tensor->shape.rbegin(), tensor->shape.rend()}, GgufType::kF32};
    if (tensor->shape.size() == 2) written.type = type_;
    if (written.sizes[0] % block_values(written.type) != 0)
      throw Error(Diagnostic("E0804", concat("rows of `", source, "` have ", written.sizes[0], " values, ",
                                             type_name(type_), " needs a multiple of ", block_values(type_)))
                      .help("`--type f16`"));
    weights_.push_back({tensor, permuted, std::move(written)});
  }

  void add_linear(std::int64_t layer, Linear linear) {
    add(concat("model.layers.", layer, ".", path_of(linear), ".weight"), gguf_linear_name(layer, linear),
        is_permuted(linear));
  }

  std::vector<GgufWeight> take() { return std::move(weights_); }

 private:
  const HfModel& base_;
  GgufType type_;
  std::vector<GgufWeight> weights_;
};

}  // namespace

std::string gguf_linear_name(std::int64_t layer, Linear linear) {
  return concat("blk.", layer, ".", kNames[index_of(linear)], ".weight");
}

std::vector<GgufWeight> gguf_weights(const HfModel& base, GgufType type) {
  WeightList list(base, type);
  list.add("model.embed_tokens.weight", "token_embd.weight");
  for (std::int64_t layer = 0; layer < base.config().layers; ++layer) {
    const std::string source = concat("model.layers.", layer, "."), target = concat("blk.", layer, ".");
    list.add(source + "input_layernorm.weight", target + "attn_norm.weight");
    for (const Linear linear : {Linear::kQ, Linear::kK, Linear::kV, Linear::kO}) list.add_linear(layer, linear);
    list.add(source + "post_attention_layernorm.weight", target + "ffn_norm.weight");
    for (const Linear linear : {Linear::kGate, Linear::kUp, Linear::kDown}) list.add_linear(layer, linear);
  }
  list.add("model.norm.weight", "output_norm.weight");
  if (!base.config().tie_word_embeddings) list.add("lm_head.weight", "output.weight");
  return list.take();
}

}  // namespace shori
