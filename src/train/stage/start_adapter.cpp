#include "src/train/stage/start_adapter.h"

#include <algorithm>

#include "shori/train/adapter_file.h"
#include "shori/train/checkpoint.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

constexpr char kOtherBaseHelp[] = "use the base that it was trained on, or another adapter";

void check_base_of(const AdapterOrigin& origin, const AdapterSource& source, const std::string& init_from,
                   const std::string& fingerprint) {
  if (origin.base_fingerprint == fingerprint) return;
  if (!origin.base_fingerprint.empty())
    throw Error(Diagnostic("E0505", concat("adapter ", init_from, " was trained on another base"))
                    .note(concat("base fingerprint ", origin.base_fingerprint.substr(0, 8), " against ",
                                 fingerprint.substr(0, 8)))
                    .help(kOtherBaseHelp));
  log_warning(Diagnostic("W0503", concat("the adapter does not say which base it was trained on: ", source.path()))
                  .note("only its shapes were checked"));
}

// The same ids would mean other text. Without a tokenizer on either side there is nothing to compare.
void check_tokenizer_of(const AdapterOrigin& origin, const std::string& init_from, const std::string& tokenizer) {
  if (origin.tokenizer_sha256.empty() || tokenizer.empty() || origin.tokenizer_sha256 == tokenizer) return;
  throw Error(Diagnostic("E0505", concat("adapter ", init_from, " was trained with another tokenizer.model"))
                  .note(concat("sha256 ", origin.tokenizer_sha256.substr(0, 8), " against ", tokenizer.substr(0, 8)))
                  .help(kOtherBaseHelp));
}

// The checkpoint itself, or the newest one of the run whose adapter it is.
SealedFile open_carried_checkpoint(const std::string& init_from) {
  const AdapterSource source = find_adapter_source(init_from);
  if (source.is_checkpoint) return open_checkpoint(source.folder, source.file, true);
  const RunFolder run(init_from);
  const auto newest = run.newest_checkpoint();
  if (!newest)
    throw Error(Diagnostic("E0510", concat("`optimizer_state: carry` needs a checkpoint, `", init_from, "` has none")));
  return open_checkpoint(run.checkpoints(), checkpoint_name(*newest), true);
}

// Factors as the config asks for them. All share the memory of the largest: their values are only checked.
std::vector<NamedArray> expected_factors(const TrainConfig& config, const MistralConfig& model,
                                         std::vector<float>& memory) {
  const LoraSettings settings = lora_settings(config);
  std::vector<NamedArray> factors;
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    for (const Linear linear : kLinears) {
      if (!settings.has(linear)) continue;
      const LinearShape shape = shape_of(model, linear);
      factors.push_back({FactorName{layer, linear, false}.text(), FileDType::kF32, {settings.rank, shape.in}});
      factors.push_back({FactorName{layer, linear, true}.text(), FileDType::kF32, {shape.out, settings.rank}});
    }
  }
  std::uint64_t largest = 0;
  for (const NamedArray& factor : factors) largest = std::max(largest, factor.count());
  memory.resize(largest);
  for (NamedArray& factor : factors) factor.data = memory.data();
  return factors;
}

}  // namespace

void check_start_adapter(const TrainConfig& config, const std::string& init_from, const BaseModel* base,
                         const std::function<std::string()>& base_fingerprint) {
  const AdapterSource source = find_adapter_source(init_from);
  if (base == nullptr) return;
  const std::string name = base_model_name(*base);
  std::vector<float> memory;
  const std::vector<NamedArray> factors = expected_factors(config, base->model->config(), memory);
  const AdapterOrigin origin = read_adapter(source, adapter_settings(config, name), factors);
  check_tokenizer_of(origin, init_from, base->tokenizer ? base->tokenizer->sha256() : "");
  if (base_fingerprint)
    check_base_of(origin, source, init_from,
                  origin.base_fingerprint.empty() ? std::string("none") : base_fingerprint());
  if (config.optimizer_state == OptimizerStart::kCarry) (void)open_carried_checkpoint(init_from);
}

std::optional<std::string> fill_adapter(const TrainConfig& config, const std::string& init_from,
                                        const BaseIdentity& base, const std::string& tokenizer_sha256,
                                        LoraAdapter& adapter, const OpContext& ops) {
  if (init_from.empty()) {
    adapter.initialize(ops, static_cast<std::uint64_t>(config.seed));
    return std::nullopt;
  }
  const AdapterSource source = find_adapter_source(init_from);
  const AdapterOrigin origin = read_adapter(source, adapter_settings(config, base.name), adapter.arrays());
  check_tokenizer_of(origin, init_from, tokenizer_sha256);
  check_base_of(origin, source, init_from, base.fingerprint);
  adapter.upload(ops);
  return origin.sha256;
}

void carry_optimizer(const std::string& init_from, AdamW8bit& optimizer, const OpContext& ops) {
  const SealedFile checkpoint = open_carried_checkpoint(init_from);
  for (const NamedArray& array : optimizer.arrays()) {
    const TensorEntry* entry = checkpoint.file.find(array.name);
    if (!entry || entry->shape != array.shape)
      throw Error(Diagnostic("E0511", concat("the optimizer state of ", checkpoint.file.file().path(),
                                             " does not fit: ", array.name))
                      .note("block size and `lora_r` must be the same")
                      .help("`optimizer_state: fresh`"));
    checkpoint.file.read(*entry, 0, array.data, array.bytes());
  }
  const JsonValue* adam = checkpoint.manifest.find("adam");
  const JsonValue* t = adam ? adam->find("t") : nullptr;
  optimizer.set_step_count(t ? t->as_unsigned().value_or(0) : 0);
  optimizer.upload(ops);
}

FactorValues copy_values(const LoraAdapter& adapter) {
  FactorValues values;
  for (const LoraFactor& factor : adapter.factors())
    values.emplace_back(factor.values().begin(), factor.values().end());
  return values;
}

}  // namespace shori
