// How a stage begins once its base is there: the adapter is filled, and the run folder made or taken up again.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>

#include "shori/quant/dynamic_map.h"
#include "shori/util/build_info.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/train/plan/stage_options.h"
#include "src/train/stage/stage_trainer.h"

namespace shori {
namespace {

std::string hash_of_map(const float* map) { return to_hex(sha256(map, 256 * sizeof(float))); }

LrShape lr_shape(LrScheduler scheduler) {
  return scheduler == LrScheduler::kConstant ? LrShape::kConstant
         : scheduler == LrScheduler::kLinear ? LrShape::kLinear
                                             : LrShape::kCosine;
}

}  // namespace

AdapterSettings adapter_settings(const TrainConfig& config, const std::string& base_name) {
  return {base_name, config.lora_r, config.lora_alpha, config.lora_dropout, config.lora_target_modules};
}

StageTrainer::StageTrainer(PreparedStage& stage, LoadedBase& base, const TrainerOptions& options)
    : stage_(stage),
      base_(base),
      options_(options),
      guards_({stage.stage.config.loss_watchdog_threshold, stage.stage.config.loss_watchdog_patience}),
      schedule_{lr_shape(stage.stage.config.lr_scheduler), stage.stage.config.learning_rate,
                stage.stage.config.warmup_steps, static_cast<std::int64_t>(stage.total_steps())},
      tokens_of_file_(stage.data.files.size(), 0) {}

// The folder is this program's from here on.
void StageTrainer::open_folder() {
  const RunFolder& folder = stage_.folder;
  lock_ = RunLock::take(folder.path());
  // Its state was found without the lock. A program that has finished or begun a run there since keeps it.
  if (!options_.resume && (folder.newest_checkpoint() || folder.read_done()))
    throw Error(Diagnostic("E0507", "`" + folder.path() + "` has got a run while this program was starting")
                    .help("start again to see what is left to do"));
  set_log_file(folder.file("train.log"));
}

// The last moment at which nothing of an older run has been touched: what can be checked has been, but for the room.
void StageTrainer::make_room() {
  if (options_.folder_is_old) checkpoints_->check_room(parent_path(stage_.folder.path()));
  options_.make_room();
  if (!lock_) open_folder();
}

// Another build or instruction set may round differently: a resume with it is refused unless the config allows it.
void StageTrainer::check_build() const {
  const auto run = stage_.folder.read_run();
  if (!run) return;
  if (const JsonValue* base = run->find("base"); base && text_member(*base, "fingerprint") != identity_.fingerprint)
    throw Error(Diagnostic("E0508", "the base model changed since the run began")
                    .note("fingerprint " + text_member(*base, "fingerprint").substr(0, 8) + " -> " +
                          identity_.fingerprint.substr(0, 8))
                    .help("restore it, or begin a new stage"));
  const std::string build = text_member(*run, "build"), device = text_member(*run, "device");
  if (build == build_id() && device == device_name(device_kind())) return;
  Diagnostic diagnostic("E0509",
                        "this program is another build, or the device is another one, than the run was begun with");
  diagnostic.note("then " + build + ", " + device)
      .note(std::string("now ") + build_id() + ", " + device_name(device_kind()));
  diagnostic.help("use that build, or `resume_on_other_build: warn`");
  if (config().resume_on_other_build == OtherBuild::kError) throw Error(diagnostic);
  log_info("resuming with another build or device: bit-exactness is not promised from here on (" + build + " -> " +
           build_id() + ")");
}

// Fresh factors, or those of `init_from`.
void StageTrainer::fill_start(LoraAdapter& adapter, const OpContext& ops) {
  if (options_.init_from.empty()) {
    adapter.initialize(ops, static_cast<std::uint64_t>(config().seed));
    return;
  }
  const AdapterSource source = find_adapter_source(options_.init_from);
  const AdapterOrigin origin = read_adapter(source, adapter_settings(config(), identity_.name), adapter.arrays());
  if (origin.base_fingerprint.empty() && !source.is_checkpoint)
    log_warning(Diagnostic("W0503", "the adapter does not say which base it was trained on: " + source.path())
                    .note("only its shapes were checked"));
  else if (!origin.base_fingerprint.empty() && origin.base_fingerprint != identity_.fingerprint)
    throw Error(Diagnostic("E0505", "adapter " + options_.init_from + " was trained on another base")
                    .note("base fingerprint " + origin.base_fingerprint.substr(0, 8) + " against " +
                          identity_.fingerprint.substr(0, 8))
                    .help("use the base named in its adapter_config.json"));
  parent_ = origin.sha256;
  adapter.upload(ops);
}

// `optimizer_state: carry`: moments and step count of the checkpoint the adapter comes from.
void StageTrainer::carry_optimizer(const AdapterSource& source) {
  std::string folder = source.folder, name = source.file;
  if (!source.is_checkpoint) {
    const RunFolder run(options_.init_from);
    const auto newest = run.newest_checkpoint();
    if (!newest)
      throw Error(
          Diagnostic("E0510", "`optimizer_state: carry` needs a checkpoint, `" + options_.init_from + "` has none"));
    folder = run.checkpoints();
    name = checkpoint_name(*newest);
  }
  const SealedFile checkpoint = open_checkpoint(folder, name, true);
  for (const NamedArray& array : optimizer_->arrays()) {
    const TensorEntry* entry = checkpoint.file.find(array.name);
    if (!entry || entry->shape != array.shape)
      throw Error(
          Diagnostic("E0511", "the optimizer state of " + join_path(folder, name) + " does not fit: " + array.name)
              .note("block size and `lora_r` must be the same")
              .help("`optimizer_state: fresh`"));
    checkpoint.file.read(*entry, 0, array.data, array.bytes());
  }
  const JsonValue* adam = checkpoint.manifest.find("adam");
  const JsonValue* t = adam ? adam->find("t") : nullptr;
  optimizer_->set_step_count(t ? t->as_unsigned().value_or(0) : 0);
  optimizer_->upload(base_.model->ops());
}

void StageTrainer::begin_new() {
  const RunFolder& folder = stage_.folder;
  fill_start(adapter(), base_.model->ops());
  const bool carry = config().optimizer_state == OptimizerStart::kCarry;
  if (carry) carry_optimizer(find_adapter_source(options_.init_from));
  checkpoints_ = std::make_unique<CheckpointStore>(folder.path(), state_arrays());
  checkpoints_->set_manifest_bytes(manifest_bytes());
  make_room();
  log_info("stage " + stage_.stage.name + " begins " +
           (parent_ ? "from " + options_.init_from + ", adapter sha256 " + parent_->substr(0, 8)
                    : std::string("with a fresh adapter")) +
           "; optimizer: " + (carry ? "carried" : "fresh") + "; learning rate " +
           format_double(config().learning_rate));
  folder.write("pack_plan.bin", stage_.plan_bytes);
  folder.write("data_report.json", stage_.ledger.to_json());
  folder.write("run.json", run_json(stage_, identity_, parent_, device_kind()));
  metrics_ = std::make_unique<LineLog>(folder.path(), "metrics.jsonl", 0, "");
  timing_ = std::make_unique<LineLog>(folder.path(), "timing.jsonl", 0, "");
  checkpoints_->prepare();
  remember_start();
  if (!evaluate_if_due()) throw Stopped();
  save();
}

void StageTrainer::resume() {
  const RunFolder& folder = stage_.folder;
  check_build();
  if (sha256_of_file(InputFile::open_in(folder.path(), "pack_plan.bin", "E0508")) != stage_.plan_sha256)
    throw Error(Diagnostic("E0508", "pack_plan.bin is not the plan of this run").help("begin a new stage"));
  if (const auto run = folder.read_run()) {
    const std::string parent = text_member(*run, "parent");
    if (!parent.empty()) parent_ = parent;
  }
  checkpoints_ = std::make_unique<CheckpointStore>(folder.path(), state_arrays());
  const auto loaded = checkpoints_->load_newest();
  SHORI_CHECK(loaded, "a resume without checkpoints");
  restore(loaded->manifest);
  checkpoints_->prepare();
  adapter().upload(base_.model->ops());
  optimizer_->upload(base_.model->ops());
  if (guards_.moving_steps < 2) remember_start();
  // A kill may have come between a pin and the deletion of what it supersedes.
  pins_unsettled_ = true;
  make_room();
  log_info("resumed at step " + std::to_string(step_) + " of " + std::to_string(stage_.total_steps()) + " (epoch " +
           format_double(epoch()) + ")");
}

void StageTrainer::restore(const JsonValue& manifest) {
  const auto number = [&](const JsonValue& object, const char* key) {
    const JsonValue* value = object.find(key);
    const auto result = value ? value->as_unsigned() : std::nullopt;
    if (!result) throw Error(Diagnostic("E0503", std::string("the checkpoint's manifest lacks `") + key + "`"));
    return *result;
  };
  const char* differs = !has_numbers_of(manifest, config())                          ? "config_hash"
                        : text_member(manifest, "plan_sha256") != stage_.plan_sha256 ? "plan_sha256"
                                                                                     : nullptr;
  if (differs != nullptr)
    throw Error(Diagnostic("E0504", concat("the checkpoint belongs to another run: `", differs, "` differs"))
                    .help("use the folder's own config"));
  const JsonValue *adam = manifest.find("adam"), *ledger = manifest.find("ledger"), *metrics = manifest.find("metrics"),
                  *guards = manifest.find("guards");
  if (!adam || !ledger || !metrics || !guards)
    throw Error(Diagnostic("E0503", "the checkpoint's manifest is not complete"));
  step_ = durable_ = saving_ = number(manifest, "step");
  optimizer_->set_step_count(number(*adam, "t"));
  guards_.restore(*guards);
  tokens_ = static_cast<std::int64_t>(number(*ledger, "tokens"));
  targets_ = static_cast<std::int64_t>(number(*ledger, "targets"));
  const JsonValue* files = ledger->find("tokens_of_file");
  if (!files || files->items.size() != tokens_of_file_.size())
    throw Error(Diagnostic("E0503", "the checkpoint's ledger has other files"));
  for (std::size_t i = 0; i < tokens_of_file_.size(); ++i)
    tokens_of_file_[i] = static_cast<std::int64_t>(files->items[i].as_unsigned().value_or(0));
  metrics_ = std::make_unique<LineLog>(stage_.folder.path(), "metrics.jsonl", number(*metrics, "bytes"),
                                       text_member(*metrics, "sha256"));
  std::error_code ignored;
  const auto timing_size = std::filesystem::file_size(stage_.folder.file("timing.jsonl"), ignored);
  timing_ = std::make_unique<LineLog>(stage_.folder.path(), "timing.jsonl", ignored ? 0 : timing_size, std::nullopt);
}

// The values before step 1, for the dead-adapter check.
void StageTrainer::remember_start() {
  start_values_.clear();
  const auto copy = [this](const LoraAdapter& source) {
    for (const LoraFactor& factor : source.factors())
      start_values_.emplace_back(factor.values().begin(), factor.values().end());
  };
  if (step_ == 0) return copy(adapter());
  Workspace workspace;
  LoraAdapter start(base_.model->config(), adapter().settings(), adapter().activation());
  fill_start(start, {.workspace = &workspace});
  copy(start);
}

// What a checkpoint holds: the adapter, then the optimizer's moments.
std::vector<NamedArray> StageTrainer::state_arrays() {
  std::vector<NamedArray> arrays = adapter().arrays();
  std::ranges::move(optimizer_->arrays(), std::back_inserter(arrays));
  return arrays;
}

// Length of the manifest before step 1, with room for the token count of each file to grow.
std::size_t StageTrainer::manifest_bytes() const {
  constexpr std::size_t kDigits = 20;
  return canonical_json(manifest()).size() + kDigits * tokens_of_file_.size();
}

Json StageTrainer::manifest() const {
  const AdamOptions& adam = optimizer_->options();
  Json json;
  json["adam"] = {{"block_size", adam.block_size},
                  {"beta1", adam.beta1},
                  {"beta2", adam.beta2},
                  {"eps", adam.eps},
                  {"t", optimizer_->step_count()},
                  {"map_signed_sha256", hash_of_map(dynamic_map_signed())},
                  {"map_unsigned_sha256", hash_of_map(dynamic_map_unsigned())}};
  Json shards = Json::array();
  for (const HfShard& shard : stage_.base->model->shards())
    shards.push_back({{"name", shard.name}, {"size", shard.size}});
  json["base"] = {{"name", identity_.name},
                  {"fingerprint", identity_.fingerprint},
                  {"nf4_checksum", identity_.nf4_checksum},
                  {"shards", std::move(shards)}};
  json["build"] = build_id();
  json["device"] = device_name(device_kind());
  json["config"] = raw_json(canonical_config(config(), ConfigScope::kPortable));
  json["config_hash"] = stage_.config_hash;
  json["data"] = Json::array();
  for (const DataFile& file : stage_.data.files)
    json["data"].push_back({{"path", file.path}, {"size", file.size}, {"sha256", file.sha256}});
  json["data_fingerprint"] = stage_.data.fingerprint;
  json["epoch"] = epoch();
  json["format"] = kCheckpointVersion;
  json["guards"] = guards_.state();
  json["ledger"] = {{"tokens", tokens_}, {"targets", targets_}, {"tokens_of_file", tokens_of_file_}};
  json["lr"] = step_ == 0 ? 0.0 : learning_rate(step_);
  // Before the log is open, only the length of this text is wanted.
  json["metrics"] = {{"bytes", metrics_ ? metrics_->bytes() : 0},
                     {"sha256", metrics_ ? metrics_->sha256() : sha256_hex("")}};
  const std::size_t next =
      step_ == 0 ? 0 : stage_.plan.steps[step_ - 1].first_micro_batch + stage_.plan.steps[step_ - 1].micro_batch_count;
  json["next_micro_batch"] = next;
  json["parent"] = text_or_null(parent_.value_or(""));
  json["plan_sha256"] = stage_.plan_sha256;
  json["rng"] = {{"algorithm", "philox4x32-10"}, {"seed", config().seed}};
  json["stage"] = stage_.stage.name;
  json["step"] = step_;
  json["tokenizer_sha256"] = text_or_null(stage_.data.tokenizer_sha256);
  json["version"] = version();
  return json;
}

}  // namespace shori
