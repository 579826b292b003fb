// A model folder of random values that the test knows.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/util/bf16.h"
#include "tests/support/temporary_folder.h"

namespace shori {

struct FolderOptions {
  std::int64_t hidden = 64;
  std::int64_t intermediate = 96;
  std::int64_t vocab = 40;
  std::int64_t layers = 2;
  FileDType dtype = FileDType::kBf16;
  bool tied = false;
  bool sparse = false;  // the weights are a hole in the file: of any size, all zero
};

// A model folder whose values the test knows; files are written at the end of the changes.
class ModelFolder {
 public:
  explicit ModelFolder(const FolderOptions& options) : options_(options) {
    const std::string config = config_json();
    folder_.write("config.json", config);
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0.0f, 0.1f);
    for (const auto& [name, shape] : expected_tensors(parse_model_config(config, "config.json"))) {
      std::int64_t count = 1;
      for (const std::int64_t size : shape) count *= size;
      plans_.push_back({name, options.dtype, shape});
      if (options.sparse) continue;
      std::vector<float>& values = values_[name];
      values.resize(static_cast<std::size_t>(count));
      for (float& value : values) value = rounded(normal(random));
    }
  }

  std::vector<float>& values(const std::string& name) { return values_.at(name); }

  const std::string& path() const { return folder_.path(); }

  HfModel open() {
    std::string data;
    std::uint64_t bytes = 0;
    for (const NamedArray& plan : plans_) {
      bytes += plan.bytes();
      if (options_.sparse) continue;
      for (const float value : values_.at(plan.name)) append(data, value);
    }
    const std::string header = make_safetensors_header(plans_, {{"format", "pt"}});
    std::filesystem::resize_file(folder_.write("model.safetensors", header + data), header.size() + bytes);
    return HfModel::open(folder_.path());
  }

 private:
  std::string config_json() const {
    return R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu", "hidden_size": )" +
           std::to_string(options_.hidden) + R"(, "intermediate_size": )" + std::to_string(options_.intermediate) +
           R"(, "num_hidden_layers": )" + std::to_string(options_.layers) +
           R"(, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": )" + std::to_string(options_.vocab) +
           R"(, "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 32,
               "torch_dtype": "bfloat16", "tie_word_embeddings": )" +
           (options_.tied ? "true" : "false") + "}";
  }
  float rounded(float value) const {
    if (options_.dtype == FileDType::kBf16) return round_to_bf16(value);
    return options_.dtype == FileDType::kF16 ? half_to_float(float_to_half(value)) : value;
  }
  void append(std::string& data, float value) const {
    if (options_.dtype == FileDType::kF32) {
      data.append(reinterpret_cast<const char*>(&value), 4);
      return;
    }
    const std::uint16_t bits = options_.dtype == FileDType::kBf16 ? to_bf16(value).bits : float_to_half(value);
    data.append(reinterpret_cast<const char*>(&bits), 2);
  }

  FolderOptions options_;
  TemporaryFolder folder_;
  std::vector<NamedArray> plans_;
  std::map<std::string, std::vector<float>> values_;
};

}  // namespace shori
