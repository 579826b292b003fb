// Quantizing a model folder while it streams in, against plain reading of the same file.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/model/load_mistral.h"
#include "shori/util/file.h"
#include "temporary_folder.h"

namespace shori {
namespace {

constexpr const char* kConfig =
    R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
  "hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 2, "num_attention_heads": 16, "num_key_value_heads": 4,
  "vocab_size": 1000, "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": null,
  "torch_dtype": "bfloat16", "tie_word_embeddings": false})";

// 222 MB of bf16, finite and of both signs; written once.
const std::string& model_folder() {
  static const TemporaryFolder folder;
  static const bool written = [] {
    folder.write("config.json", kConfig);
    std::vector<SafetensorsPlan> plans;
    std::uint64_t bytes = 0;
    for (const auto& [name, shape] : expected_tensors(parse_model_config(kConfig, "config.json"))) {
      plans.push_back({name, FileDType::kBf16, shape});
      bytes += plans.back().bytes();
    }
    std::string data(bytes, '\0');
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < data.size(); i += 2) {
      state = state * 1664525u + 1013904223u;
      const std::uint32_t bits = (state >> 31) << 15 | (112 + ((state >> 24) & 7)) << 7 | ((state >> 16) & 127);
      data[i] = static_cast<char>(bits);
      data[i + 1] = static_cast<char>(bits >> 8);
    }
    folder.write("model.safetensors", make_safetensors_header(plans, {{"format", "pt"}}) + data);
    return true;
  }();
  benchmark::DoNotOptimize(written);
  return folder.path();
}

// Both measure from the page cache: what is compared is the work, not the disk.
void warm(const InputFile& file, std::vector<char>& buffer) {
  for (std::uint64_t offset = 0; offset < file.size(); offset += buffer.size()) {
    file.read_at(offset, buffer.data(), std::min<std::uint64_t>(buffer.size(), file.size() - offset));
  }
}

void read_plainly(benchmark::State& state) {
  const InputFile file = InputFile::open(model_folder() + "/model.safetensors");
  std::vector<char> buffer(8 << 20);
  warm(file, buffer);
  for (auto _ : state) warm(file, buffer);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * file.size()));
}
BENCHMARK(read_plainly)->Unit(benchmark::kMillisecond)->UseRealTime();

void quantize(benchmark::State& state) {
  const HfModel model = HfModel::open(model_folder());
  const InputFile file = InputFile::open(model_folder() + "/model.safetensors");
  std::vector<char> buffer(8 << 20);
  for (auto _ : state) {
    state.PauseTiming();
    warm(file, buffer);
    state.ResumeTiming();
    benchmark::DoNotOptimize(load_mistral(model, {.threads = static_cast<int>(state.range(0)), .progress = {}}));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * model.tensor_bytes()));
}
BENCHMARK(quantize)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace shori
