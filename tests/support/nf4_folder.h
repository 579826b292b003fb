// A model folder whose linears are NF4 already, in the parts that bitsandbytes writes.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "shori/quant/dynamic_map.h"
#include "shori/quant/nf4.h"
#include "tests/unit/io/model_files.h"

namespace shori {

struct Nf4Options {
  bool nested = true;
  std::int64_t block_size = 64, nested_block_size = 256;
  float map_factor = 1.0f;  // of the nested map: other than 1 is another map than ours
};

inline std::string bytes_of(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class Nf4Folder {
 public:
  explicit Nf4Folder(const Nf4Options& options = {}) : options_(options) {
    config_ = replaced(replaced(kTinyConfig, "\"hidden_size\": 8", "\"hidden_size\": 32"), "\"intermediate_size\": 12",
                       "\"intermediate_size\": 40");
    const HfModelConfig shape = parse_model_config(config_, "config.json");
    config_ = replaced(config_, "\"hidden_act\"",
                       "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
                       "\"bnb_4bit_quant_type\": \"nf4\"}, \"hidden_act\"");
    for (const auto& [name, size] : expected_tensors(shape)) add(name, size);
  }

  TestTensor& tensor(const std::string& name) {
    for (TestTensor& tensor : tensors_)
      if (tensor.name == name) return tensor;
    throw std::runtime_error("no tensor " + name);
  }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const TestTensor& tensor) { return tensor.name == name; });
  }
  std::vector<TestTensor>& tensors() { return tensors_; }
  std::string& config() { return config_; }
  const TemporaryFolder& folder() const { return folder_; }
  // What every linear decodes to, by the rule of numbers alone.
  const std::vector<float>& values(const std::string& name) const { return values_.at(name); }
  const std::vector<std::uint8_t>& codes(const std::string& name) const { return codes_.at(name); }

  HfModel open() {
    folder_.write("config.json", config_);
    folder_.write("model.safetensors", safetensors_bytes(tensors_));
    return HfModel::open(folder_.path());
  }

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    if (!name.ends_with("_proj.weight")) {
      std::string data;
      for (std::int64_t i = 0; i < count; ++i) data += {static_cast<char>(i * 7), i % 2 == 0 ? '\x3f' : '\xbf'};
      tensors_.push_back({name, "BF16", shape, data});
      return;
    }
    const std::int64_t blocks = (count + options_.block_size - 1) / options_.block_size;
    std::vector<std::uint8_t> codes(static_cast<std::size_t>((count + 1) / 2)), index(static_cast<std::size_t>(blocks));
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37 + tensors_.size() * 11);
    std::vector<float> absmax, nested, map(dynamic_map_signed(), dynamic_map_signed() + 256), levels;
    for (float& value : map) value *= options_.map_factor;
    for (unsigned code = 0; code < 16; ++code) levels.push_back(nf4_level(code));
    for (std::int64_t i = 0; i < blocks; ++i) {
      index[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i * 53 + 100);
      absmax.push_back(0.01f * static_cast<float>(i % 17 + 1));
    }
    for (std::int64_t i = 0; i < (blocks + options_.nested_block_size - 1) / options_.nested_block_size; ++i)
      nested.push_back(0.02f + 0.001f * static_cast<float>(i));
    const float offset = 0.0375f;
    std::vector<float>& values = values_[name];
    for (std::int64_t i = 0; i < count; ++i) {
      const auto block = static_cast<std::size_t>(i / options_.block_size);
      float scale = absmax[block];
      if (options_.nested) {
        scale = map[index[block]] * nested[block / static_cast<std::size_t>(options_.nested_block_size)];
        scale = scale + offset;
      }
      const std::uint8_t byte = codes[static_cast<std::size_t>(i / 2)];
      values.push_back(round_to_bf16(nf4_level(i % 2 == 0 ? byte >> 4 : byte & 15u) * scale));
    }
    codes_[name] = codes;
    const auto text = [](const std::vector<std::uint8_t>& bytes) { return std::string(bytes.begin(), bytes.end()); };
    tensors_.push_back({name, "U8", {std::ssize(codes), 1}, text(codes)});
    if (options_.nested) {
      tensors_.push_back({name + ".absmax", "U8", {blocks}, text(index)});
      tensors_.push_back({name + ".nested_absmax", "F32", {std::ssize(nested)}, bytes_of(nested)});
      tensors_.push_back({name + ".nested_quant_map", "F32", {256}, bytes_of(map)});
    } else {
      tensors_.push_back({name + ".absmax", "F32", {blocks}, bytes_of(absmax)});
    }
    tensors_.push_back({name + ".quant_map", "F32", {16}, bytes_of(levels)});
    std::string state = R"({"quant_type": "nf4", "blocksize": )" + std::to_string(options_.block_size) +
                        R"(, "dtype": "bfloat16", "shape": )" + shape_json(shape);
    if (options_.nested)
      state += R"(, "nested_blocksize": )" + std::to_string(options_.nested_block_size) +
               R"(, "nested_dtype": "float32", "nested_offset": 0.0375)";
    state += "}";
    tensors_.push_back({name + ".quant_state.bitsandbytes__nf4", "U8", {std::ssize(state)}, state});
  }

  Nf4Options options_;
  TemporaryFolder folder_;
  std::string config_;
  std::vector<TestTensor> tensors_;
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, std::vector<std::uint8_t>> codes_;
};

}  // namespace shori
