// Quantizing a model folder while it streams in, against plain reading of the same file. By hand:
//   shori_bench --benchmark_filter='read_plainly|quantize' --benchmark_out=FILE
// The file (553 MB of random bf16 weights of 35 matrices) is made in the temporary folder of the system (TMPDIR) and
// removed afterwards. `cached:1` reads from the page cache: the work alone. `cached:0` drops the file from it first.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/model/load_mistral.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

constexpr const char* kConfig =
    R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
  "hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 5,
  "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 64,
  "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": null, "torch_dtype": "bfloat16",
  "tie_word_embeddings": false})";

// `bytes` bytes of bf16: finite, of both signs, between 2^-15 and 2^-7.
std::string random_weights(std::uint64_t bytes, std::uint32_t& state) {
  std::string data(bytes, '\0');
  for (std::size_t i = 0; i < data.size(); i += 2) {
    state = state * 1664525u + 1013904223u;
    const std::uint32_t bits = (state >> 31) << 15 | (112 + ((state >> 24) & 7)) << 7 | ((state >> 16) & 127);
    data[i] = static_cast<char>(bits);
    data[i + 1] = static_cast<char>(bits >> 8);
  }
  return data;
}

void write_model(const TemporaryFolder& folder) {
  folder.write("config.json", kConfig);
  std::vector<NamedArray> plans;
  for (const auto& [name, shape] : expected_tensors(parse_model_config(kConfig, "config.json"))) {
    plans.push_back({name, FileDType::kBf16, shape});
  }
  std::ofstream file(folder.file("model.safetensors"), std::ios::binary);
  file << make_safetensors_header(plans, {{"format", "pt"}});
  std::uint32_t state = 1;
  for (const NamedArray& plan : plans) file << random_weights(plan.bytes(), state);
  SHORI_CHECK(file.flush().good(), "cannot write the model to measure with");
}

// Written at the first call.
const std::string& model_folder() {
  static const TemporaryFolder folder;
  static const bool written = (write_model(folder), true);
  benchmark::DoNotOptimize(written);
  return folder.path();
}

void read_all(const InputFile& file) {
  std::vector<char> buffer(8 << 20);
  for (std::uint64_t offset = 0; offset < file.size(); offset += buffer.size()) {
    file.read_at(offset, buffer.data(), std::min<std::uint64_t>(buffer.size(), file.size() - offset));
  }
  benchmark::DoNotOptimize(buffer.data());
}

// Dirty pages cannot be dropped, so they are written first.
void prepare_cache(const InputFile& file, bool cached) {
  if (cached) return read_all(file);
  SHORI_CHECK(fdatasync(file.descriptor()) == 0, "fdatasync");
  SHORI_CHECK(posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED) == 0, "posix_fadvise");
}

void read_plainly(benchmark::State& state) {
  const InputFile file = InputFile::open(model_folder() + "/model.safetensors");
  for (auto _ : state) {
    state.PauseTiming();
    prepare_cache(file, state.range(0) != 0);
    state.ResumeTiming();
    read_all(file);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * file.size()));
}
BENCHMARK(read_plainly)->ArgName("cached")->Arg(1)->Arg(0)->Unit(benchmark::kMillisecond)->UseRealTime();

void quantize(benchmark::State& state) {
  const HfModel model = HfModel::open(model_folder());
  const InputFile file = InputFile::open(model_folder() + "/model.safetensors");
  for (auto _ : state) {
    state.PauseTiming();
    prepare_cache(file, state.range(1) != 0);
    state.ResumeTiming();
    benchmark::DoNotOptimize(load_mistral(model, {.threads = static_cast<int>(state.range(0)), .progress = {}}));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * model.tensor_bytes()));
}
BENCHMARK(quantize)
    ->ArgNames({"threads", "cached"})
    ->ArgsProduct({{1, 2}, {1, 0}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace shori
