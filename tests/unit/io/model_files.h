// Model folders of a few numbers, written byte by byte.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/util/error.h"
#include "tests/support/error_code.h"
#include "tests/support/temporary_folder.h"

namespace shori {

inline std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return little_endian(header.size()) + header + data;
}

struct TestTensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

inline std::string shape_json(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return "[" + text + "]";
}

inline std::string safetensors_bytes(const std::vector<TestTensor>& tensors) {
  std::string header = "{", data;
  for (const TestTensor& tensor : tensors) {
    header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":" + shape_json(tensor.shape) + ",\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + tensor.data.size()) + "]}";
    data += tensor.data;
  }
  return safetensors_bytes(header + "}", data);
}

// config.json as text, so that a test can change one value by replacing a piece of it.
inline const char* const kTinyConfig = R"({
  "architectures": ["MistralForCausalLM"],
  "hidden_size": 8,
  "intermediate_size": 12,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "num_key_value_heads": 1,
  "vocab_size": 16,
  "max_position_embeddings": 64,
  "rms_norm_eps": 1e-05,
  "rope_theta": 1000000.0,
  "sliding_window": null,
  "tie_word_embeddings": false,
  "hidden_act": "silu",
  "model_type": "mistral",
  "torch_dtype": "bfloat16"
}
)";

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("nothing to replace: " + from);
  return text.replace(at, from.size(), to);
}

// All tensors of the tiny model, BF16, each filled with bytes of its own.
inline std::vector<TestTensor> tiny_tensors() {
  std::vector<TestTensor> tensors;
  for (const auto& [name, shape] : expected_tensors(parse_model_config(kTinyConfig, "config.json"))) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    std::string data;
    // Exponents around 1: finite values of both signs.
    for (std::size_t i = 0; i < count; ++i) {
      data += static_cast<char>(i * 7 + tensors.size());
      data += static_cast<char>(i % 2 == 0 ? 0x3f : 0xbf);
    }
    tensors.push_back({name, "BF16", shape, data});
  }
  return tensors;
}

// Writes the tensors to the shards that `shard_of` names, with an index.
template <typename ShardOf>
void write_sharded(const TemporaryFolder& folder, const std::vector<TestTensor>& tensors, ShardOf shard_of) {
  std::map<std::string, std::vector<TestTensor>> shards;
  std::string map;
  std::size_t total = 0;
  for (const TestTensor& tensor : tensors) {
    shards[shard_of(tensor.name)].push_back(tensor);
    map += (map.empty() ? "    \"" : ",\n    \"") + tensor.name + "\": \"" + shard_of(tensor.name) + "\"";
    total += tensor.data.size();
  }
  for (const auto& [name, content] : shards) folder.write(name, safetensors_bytes(content));
  folder.write("config.json", kTinyConfig);
  folder.write("model.safetensors.index.json", "{\n  \"metadata\": {\"total_size\": " + std::to_string(total) +
                                                   "},\n  \"weight_map\": {\n" + map + "\n  }\n}\n");
}

inline std::string two_shards(const std::string& name) {
  return name.find("layers.1") != std::string::npos || name == "lm_head.weight" ? "model-00002-of-00002.safetensors"
                                                                                : "model-00001-of-00002.safetensors";
}

inline void write_single(const TemporaryFolder& folder, const std::vector<TestTensor>& tensors) {
  folder.write("config.json", kTinyConfig);
  folder.write("model.safetensors", safetensors_bytes(tensors));
}

}  // namespace shori
