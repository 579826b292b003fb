// Makes parts of the program callable from Python tests:
//   parity_tool maps OUT                the two dynamic maps
//   parity_tool quantize IN OUT         every matrix of IN (F32): NF4 state and dequantized values
//   parity_tool linears MODEL OUT       the frozen linears of a model folder as the products use them
//   parity_tool pass JOB OUT            forward and backward of a model folder with an adapter file, as JOB (JSON) says
//   parity_tool generate JOB OUT        greedy continuations of prompts with a cache of keys and values, as JOB (JSON) says
//   parity_tool adam JOB IN OUT         steps of the optimizer on one tensor, as JOB (JSON) says
//   parity_tool speed JOB               seconds of a prompt and of its continuation, as JSON on stdout
//   parity_tool randperm COUNT SEED     one permutation on stdout
//   parity_tool encode TOKENIZER        ids of each text of a JSON list on stdin, as JSON on stdout
//   parity_tool decode TOKENIZER        the text of each list of ids of a JSON list on stdin, as JSON on stdout
//   parity_tool sample                  the ids that each job of a JSON list on stdin draws, as JSON on stdout
// IN and OUT are safetensors files.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/data/token_text.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/cached_model.h"
#include "shori/infer/sampler.h"
#include "shori/io/hf_model.h"
#include "shori/io/safetensors.h"
#include "shori/model/load_mistral.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral.h"
#include "shori/ops/adamw8bit.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/ignored_label.h"
#include "shori/util/math.h"
#include "shori/util/text.h"
#include "src/data/packing/shuffle.h"
#include "tests/support/nf4_vectors.h"

namespace shori {
namespace {

// Collects tensors and writes them as one file.
class TensorWriter {
 public:
  void add(const std::string& name, FileDType dtype, std::vector<std::int64_t> shape, const void* data,
           std::size_t bytes) {
    plans_.push_back({name, dtype, std::move(shape)});
    data_.append(static_cast<const char*>(data), bytes);
  }
  void add(const std::string& name, std::span<const float> values, std::vector<std::int64_t> shape) {
    add(name, FileDType::kF32, std::move(shape), values.data(), values.size_bytes());
  }
  void add(const std::string& name, std::span<const std::uint8_t> values) {
    add(name, FileDType::kU8, {std::ssize(values)}, values.data(), values.size());
  }
  void write(const std::string& path) const {
    std::ofstream file(path, std::ios::binary);
    file << make_safetensors_header(plans_, {{"format", "pt"}}) << data_;
    SHORI_CHECK(file.good(), "cannot write " + path);
  }

 private:
  std::vector<NamedArray> plans_;
  std::string data_;
};

std::vector<float> read_f32(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  SHORI_CHECK(entry != nullptr && entry->dtype == FileDType::kF32, "no F32 tensor " + name);
  std::vector<float> values(entry->bytes() / sizeof(float));
  file.read(*entry, 0, values.data(), entry->bytes());
  return values;
}

std::vector<float> dequantized(const Nf4View& weight) {
  std::vector<float> values(static_cast<std::size_t>(weight.layout.count()));
  dequantize_nf4(weight, 0, values);
  return values;
}

void write_maps(const std::string& out) {
  TensorWriter writer;
  writer.add("signed", std::span(dynamic_map_signed(), 256), {256});
  writer.add("unsigned", std::span(dynamic_map_unsigned(), 256), {256});
  writer.write(out);
}

void quantize_file(const std::string& in, const std::string& out) {
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open(in));
  TensorWriter writer;
  for (const TensorEntry& entry : file.tensors()) {
    const auto tensor = quantize_nf4(read_f32(file, entry.name), entry.shape.at(0), entry.shape.at(1), 2);
    SHORI_CHECK(tensor.has_value(), entry.name + " is not finite");
    writer.add(entry.name + ".codes", tensor->codes);
    writer.add(entry.name + ".absmax", tensor->absmax);
    writer.add(entry.name + ".absmax2", tensor->absmax2, {std::ssize(tensor->absmax2)});
    writer.add(entry.name + ".offset", {&tensor->offset, 1}, {1});
    writer.add(entry.name + ".values", dequantized(*tensor), entry.shape);
  }
  writer.write(out);
}

// Samples in one row, each position predicting the next id of its sample.
PackedBatch make_pack(const nlohmann::json& samples) {
  PackedBatch batch;
  batch.cu_seqlens.push_back(0);
  for (const auto& sample : samples) {
    const auto ids = sample.get<std::vector<std::int32_t>>();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      batch.ids.push_back(ids[i]);
      batch.labels.push_back(i + 1 < ids.size() ? ids[i + 1] : kIgnoredLabel);
      batch.position_ids.push_back(static_cast<std::int32_t>(i));
    }
    batch.targets += std::ssize(ids) - 1;
    batch.max_seqlen = std::max(batch.max_seqlen, static_cast<std::int64_t>(ids.size()));
    batch.cu_seqlens.push_back(static_cast<std::int32_t>(batch.ids.size()));
  }
  batch.real_tokens = std::ssize(batch.ids);
  return batch;
}

// The frozen linears as the products use them, under their names in the model folder.
void write_linears(const MistralWeights& weights, TensorWriter& writer) {
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const Linear linear : kLinears) {
      const Nf4View weight = std::get<Nf4Weight>(weights.layers[layer][linear]).view();
      writer.add(concat("model.layers.", layer, ".", path_of(linear), ".weight"), dequantized(weight),
                 {weight.layout.rows, weight.layout.cols});
    }
  }
}

void write_model(const std::string& folder, const std::string& out) {
  TensorWriter writer;
  write_linears(load_mistral(HfModel::open(folder), {.threads = 2, .progress = {}}), writer);
  writer.write(out);
}

void load_factors(LoraAdapter& adapter, const std::string& path, const OpContext& context) {
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open(path));
  for (LoraFactor& factor : adapter.factors()) {
    const std::vector<float> values = read_f32(file, factor.name);
    SHORI_CHECK(values.size() == factor.values().size(), factor.name + " has another size");
    std::ranges::copy(values, factor.values().begin());
  }
  adapter.upload(context);
}

nlohmann::json read_job(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

// A model folder with an adapter file, where the job names one: {"model": folder, "bf16": bool, "quantize": bool,
// "adapter": file, "rank": n, "alpha": n, "targets": [...]}.
struct JobModel {
  explicit JobModel(const nlohmann::json& job) {
    const DType activation = job.at("bf16").get<bool>() ? DType::kBf16 : DType::kF32;
    MistralWeights weights =
        load_mistral(HfModel::open(job.at("model")),
                     {.activation = activation, .quantize = job.at("quantize"), .threads = 2, .progress = {}});
    if (job.contains("adapter")) {
      const auto targets = job.at("targets").get<std::vector<std::string>>();
      adapter.emplace(weights.config,
                      LoraSettings{.rank = job.at("rank"), .alpha = job.at("alpha"), .targets = lora_targets(targets)},
                      activation);
    }
    model.emplace(std::move(weights), adapter ? &*adapter : nullptr);
    if (adapter) load_factors(*adapter, job.at("adapter"), model->ops());
  }

  std::optional<LoraAdapter> adapter;
  std::optional<Mistral> model;
};

DropoutKey dropout_of(const nlohmann::json& job) {
  const auto found = job.find("dropout");
  if (found == job.end()) return {};
  return {.seed = found->at("seed"),
          .step = found->at("step"),
          .micro_batch = found->at("micro_batch"),
          .probability = found->at("probability")};
}

// JOB: as for JobModel, with an adapter; "samples": [[ids], ...], "dropout": {"seed": n, "step": n, "micro_batch": n,
// "probability": p} or absent. OUT: "losses" [T], "logits" of the first sample, the gradients of mean loss by factor name,
// and with "quantize" the dequantized linears.
void run_pass(const std::string& job_path, const std::string& out) {
  const nlohmann::json job = read_job(job_path);
  JobModel loaded(job);
  Mistral& model = *loaded.model;
  TensorWriter writer;
  if (job.at("quantize").get<bool>()) write_linears(model.weights(), writer);
  const PackedBatch batch = make_pack(job.at("samples"));
  model.begin(batch, dropout_of(job));
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
  const std::span<const float> losses = model.head_loss(1.0 / static_cast<double>(batch.targets));
  writer.add("losses", losses, {std::ssize(losses)});
  for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
  for (const LoraFactor& factor : loaded.adapter->factors()) {
    writer.add(factor.name, factor.gradients(), {factor.gradient.rows(), factor.gradient.cols()});
  }
  const auto prompt = job.at("samples").at(0).get<std::vector<std::int32_t>>();
  writer.add("logits", model.logits(prompt), {std::ssize(prompt), model.config().vocab_size});
  writer.write(out);
}

std::int32_t largest(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
}

// JOB: as for JobModel; "prompts": [[ids], ...] are continued one after the other by the same CachedModel, by "tokens"
// tokens each in a context of "context". OUT: "ids.<n>" (as F32) and "logits.<n>" [tokens, vocab] of prompt n, and with
// "quantize" the dequantized linears.
void run_generate(const std::string& job_path, const std::string& out) {
  const nlohmann::json job = read_job(job_path);
  JobModel loaded(job);
  CachedModel cached(*loaded.model, job.at("context"));
  TensorWriter writer;
  if (job.at("quantize").get<bool>()) write_linears(loaded.model->weights(), writer);
  const auto tokens = job.at("tokens").get<std::int64_t>();
  std::size_t number = 0;
  for (const auto& prompt : job.at("prompts")) {
    std::vector<float> ids, all;
    std::span<const float> logits = cached.prefill(prompt.get<std::vector<std::int32_t>>(), {});
    for (std::int64_t i = 0; i < tokens; ++i) {
      all.insert(all.end(), logits.begin(), logits.end());
      const std::int32_t id = largest(logits);
      ids.push_back(static_cast<float>(id));
      if (i + 1 < tokens) logits = cached.append(id);
    }
    writer.add(concat("ids.", number), ids, {tokens});
    writer.add(concat("logits.", number), all, {tokens, cached.vocab_size()});
    ++number;
  }
  writer.write(out);
}

double seconds_of(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

// JOB: as for JobModel; "prompt": ids, then "tokens" tokens in a context of "context", "rounds" times. Prints the seconds of
// each round.
void print_speed(const std::string& job_path) {
  const nlohmann::json job = read_job(job_path);
  JobModel loaded(job);
  CachedModel cached(*loaded.model, job.at("context"));
  const auto prompt = job.at("prompt").get<std::vector<std::int32_t>>();
  nlohmann::json rounds = nlohmann::json::array();
  for (int round = 0; round < job.at("rounds").get<int>(); ++round) {
    cached.prefill(std::span(prompt).first(1), {});  // nothing of the prompt is left in the cache
    std::span<const float> logits;
    const double prefill = seconds_of([&] { logits = cached.prefill(prompt, {}); });
    const double decode = seconds_of([&] {
      for (int i = 0; i < job.at("tokens").get<int>(); ++i) logits = cached.append(largest(logits));
    });
    rounds.push_back({{"prefill", prefill}, {"decode", decode}});
  }
  std::cout << rounds.dump() << '\n';
}

// The state of one tensor, with 8-bit or 32-bit moments.
struct AdamState {
  AdamState(std::vector<float> values, std::size_t blocks)
      : p(std::move(values)),
        m(p.size()),
        v(p.size()),
        m_absmax(blocks),
        v_absmax(blocks),
        m_codes(p.size()),
        v_codes(p.size()) {}
  std::vector<float> p, m, v, m_absmax, v_absmax;
  std::vector<std::uint8_t> m_codes, v_codes;

  AdamTensor tensor(std::span<float> gradient, std::uint64_t step, bool quantized) {
    AdamTensor tensor{.parameter = p.data(), .gradient = gradient.data(), .count = std::ssize(p), .step = step};
    if (quantized) {
      tensor.m_codes = m_codes.data();
      tensor.v_codes = v_codes.data();
      tensor.m_absmax = m_absmax.data();
      tensor.v_absmax = v_absmax.data();
    } else {
      tensor.m = m.data();
      tensor.v = v.data();
    }
    return tensor;
  }
  void add_to(TensorWriter& writer, const std::string& step, bool quantized) const {
    const auto floats = [&](const std::string& name, const std::vector<float>& values) {
      writer.add(step + name, values, {std::ssize(values)});
    };
    floats("p", p);
    if (!quantized) {
      floats("m", m);
      return floats("v", v);
    }
    writer.add(step + "m_codes", m_codes);
    writer.add(step + "v_codes", v_codes);
    floats("m_absmax", m_absmax);
    floats("v_absmax", v_absmax);
  }
};

// JOB: {"bits": 8 or 32, "guard": bool, "learning_rate": x, "weight_decay": x, "scale": x, "steps": n}. IN: "p" and the gradients
// "g1", "g2", ... OUT: "1.p" and the moments after the first step, and so on. Blocks have 256 elements.
void run_adam(const std::string& job_path, const std::string& in, const std::string& out) {
  const nlohmann::json job = read_job(job_path);
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open(in));
  const bool quantized = job.at("bits") == 8;
  const AdamSettings settings{.learning_rate = job.at("learning_rate"),
                              .weight_decay = job.at("weight_decay"),
                              .zero_gradient_guard = job.at("guard"),
                              .gradient_scale = job.at("scale")};
  std::vector<float> start = read_f32(file, "p");
  const std::size_t blocks = static_cast<std::size_t>(ceil_div(std::ssize(start), settings.block_size));
  AdamState state(std::move(start), blocks);
  Workspace workspace;
  TensorWriter writer;
  for (std::uint64_t step = 1; step <= job.at("steps").get<std::uint64_t>(); ++step) {
    std::vector<float> gradient = read_f32(file, concat("g", step));
    const AdamTensor tensor = state.tensor(gradient, step, quantized);
    adamw8bit({.workspace = &workspace}, settings, {&tensor, 1});
    state.add_to(writer, concat(step, "."), quantized);
  }
  writer.write(out);
}

void print_permutation(const std::string& count, const std::string& seed) {
  for (const std::uint32_t index : random_permutation(std::stoull(count), std::stoull(seed)))
    std::cout << index << '\n';
}

void encode_texts(const std::string& path) {
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  const Tokenizer tokenizer = Tokenizer::load(path);
  nlohmann::json result = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(input)) result.push_back(tokenizer.encode(text.get<std::string>()));
  std::cout << result.dump() << '\n';
}

void decode_lists(const std::string& path) {
  const Tokenizer tokenizer = Tokenizer::load(path);
  nlohmann::json result = nlohmann::json::array();
  for (const auto& ids : nlohmann::json::parse(std::cin))
    result.push_back(decode_ids(tokenizer, ids.get<std::vector<std::int32_t>>(), true));
  std::cout << result.dump() << '\n';
}

SamplerSettings sampler_settings(const nlohmann::json& json) {
  return {.temperature = json.at("temperature"),
          .temperature_last = json.at("temperature_last"),
          .top_k = json.at("top_k"),
          .top_p = json.at("top_p"),
          .min_p = json.at("min_p"),
          .repetition_penalty = json.at("repetition_penalty"),
          .presence_penalty = json.at("presence_penalty"),
          .frequency_penalty = json.at("frequency_penalty"),
          .penalty_window = json.at("penalty_window"),
          .mirostat = json.at("mirostat"),
          .mirostat_tau = json.at("mirostat_tau"),
          .mirostat_eta = json.at("mirostat_eta")};
}

// A job: {"settings": {...}, "seed": n, "reply": n, "context": [ids], "logits": [[...], ...]}, one row a token.
void sample_jobs() {
  nlohmann::json result = nlohmann::json::array();
  for (const auto& job : nlohmann::json::parse(std::cin)) {
    Sampler sampler(sampler_settings(job.at("settings")), job.at("seed"), job.at("reply"));
    auto context = job.at("context").get<std::vector<std::int32_t>>();
    std::vector<std::int32_t> drawn;
    for (const auto& row : job.at("logits")) {
      drawn.push_back(sampler.next(row.get<std::vector<float>>(), context));
      context.push_back(drawn.back());
    }
    result.push_back(drawn);
  }
  std::cout << result.dump() << '\n';
}

int run(const std::vector<std::string>& arguments) {
  struct Command {
    std::size_t parameters;
    std::function<void()> run;
  };
  const auto argument = [&](std::size_t index) { return arguments.at(index); };
  const std::map<std::string, Command> commands = {
      {"maps", {1, [&] { write_maps(argument(1)); }}},
      {"quantize", {2, [&] { quantize_file(argument(1), argument(2)); }}},
      {"linears", {2, [&] { write_model(argument(1), argument(2)); }}},
      {"pass", {2, [&] { run_pass(argument(1), argument(2)); }}},
      {"generate", {2, [&] { run_generate(argument(1), argument(2)); }}},
      {"adam", {3, [&] { run_adam(argument(1), argument(2), argument(3)); }}},
      {"speed", {1, [&] { print_speed(argument(1)); }}},
      {"randperm", {2, [&] { print_permutation(argument(1), argument(2)); }}},
      {"encode", {1, [&] { encode_texts(argument(1)); }}},
      {"decode", {1, [&] { decode_lists(argument(1)); }}},
      {"sample", {0, sample_jobs}}};
  const auto found = arguments.empty() ? commands.end() : commands.find(arguments.front());
  if (found == commands.end() || arguments.size() != found->second.parameters + 1) {
    std::cerr << "usage: see the head of parity_tool.cpp\n";
    return 2;
  }
  found->second.run();
  return 0;
}

}  // namespace
}  // namespace shori

int main(int count, char** values) {
  try {
    return shori::run({values + 1, values + count});
  } catch (const shori::Error& error) {
    std::cerr << error.what() << '\n';
    return error.exit_code() == 0 ? 1 : error.exit_code();
  }
}
