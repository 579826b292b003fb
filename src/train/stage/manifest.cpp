#include "src/train/stage/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "shori/optim/lr_schedule.h"
#include "shori/quant/dynamic_map.h"
#include "shori/train/checkpoint.h"
#include "shori/util/build_info.h"
#include "shori/util/hash.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

std::string hash_of_map(const float* map) { return to_hex(sha256(map, 256 * sizeof(float))); }

Json adam_json(const AdamOptions& adam, std::uint64_t adam_step) {
  return {{"block_size", adam.block_size},
          {"beta1", adam.beta1},
          {"beta2", adam.beta2},
          {"eps", adam.eps},
          {"t", adam_step},
          {"map_signed_sha256", hash_of_map(dynamic_map_signed())},
          {"map_unsigned_sha256", hash_of_map(dynamic_map_unsigned())}};
}

Json base_json(const PreparedStage& stage, const BaseIdentity& base) {
  Json shards = Json::array();
  for (const HfShard& shard : stage.base->model->shards())
    shards.push_back({{"name", shard.name}, {"size", shard.size}});
  return {{"name", base.name},
          {"fingerprint", base.fingerprint},
          {"nf4_checksum", base.nf4_checksum},
          {"shards", std::move(shards)}};
}

Json data_json(const PreparedStage& stage) {
  Json data = Json::array();
  for (const DataFile& file : stage.data.files)
    data.push_back({{"path", file.recorded_path}, {"size", file.size}, {"sha256", file.sha256}});
  return data;
}

std::size_t next_micro_batch(const PackPlan& plan, std::uint64_t step) {
  if (step == 0) return 0;
  const PlanStep& last = plan.steps[step - 1];
  return last.first_micro_batch + last.micro_batch_count;
}

double learning_rate_of(const PreparedStage& stage, std::uint64_t step) {
  if (step == 0) return 0;
  return learning_rate_at(lr_schedule(stage.config, stage.total_steps()), static_cast<std::int64_t>(step));
}

const JsonValue& member(const JsonValue& object, const char* key) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) throw Error(Diagnostic("E0503", concat("the checkpoint's manifest lacks `", key, "`")));
  return *value;
}

std::uint64_t read_count(const JsonValue& object, const char* key) {
  const auto number = member(object, key).as_unsigned();
  if (!number) throw Error(Diagnostic("E0503", concat("the checkpoint's manifest has no count `", key, "`")));
  return *number;
}

void read_ledger(const JsonValue& ledger, TrainingState& state) {
  state.tokens = static_cast<std::int64_t>(read_count(ledger, "tokens"));
  state.targets = static_cast<std::int64_t>(read_count(ledger, "targets"));
  const JsonValue& files = member(ledger, "tokens_of_file");
  if (files.items.size() != state.tokens_of_file.size())
    throw Error(Diagnostic("E0503", "the checkpoint's ledger has other files"));
  for (std::size_t i = 0; i < files.items.size(); ++i)
    state.tokens_of_file[i] = static_cast<std::int64_t>(files.items[i].as_unsigned().value_or(0));
}

void check_same_run(const JsonValue& json, const PreparedStage& stage) {
  const bool same_config = has_numbers_of(json, stage.config);
  if (same_config && text_member(json, "plan_sha256") == stage.plan_sha256) return;
  throw Error(Diagnostic("E0518", concat("the checkpoint belongs to another run: `",
                                         same_config ? "plan_sha256" : "config_hash", "` differs"))
                  .help("remove the checkpoint, or use the config of its own run"));
}

}  // namespace

TrainingState initial_state(const PreparedStage& stage) {
  TrainingState state;
  state.tokens_of_file.assign(stage.data.files.size(), 0);
  state.guards = Guards({stage.config.loss_watchdog_threshold, stage.config.loss_watchdog_patience});
  return state;
}

Json manifest_json(const PreparedStage& stage, const RunIdentity& identity, const Manifest& manifest) {
  const TrainingState& state = manifest.state;
  return {{"adam", adam_json(adam_options(stage.config), state.adam_step)},
          {"base", base_json(stage, identity.base)},
          {"build", build_id()},
          {"config", raw_json(canonical_config(stage.config, ConfigScope::kPortable))},
          {"config_hash", stage.config_hash},
          {"data", data_json(stage)},
          {"data_fingerprint", stage.data.fingerprint},
          {"device", device_name(identity.device)},
          {"epoch", stage.plan.epoch_after(state.step)},
          {"format", kCheckpointVersion},
          {"guards", state.guards.state()},
          {"ledger",
           {{"tokens", state.tokens}, {"targets", state.targets}, {"tokens_of_file", Json(state.tokens_of_file)}}},
          {"lr", learning_rate_of(stage, state.step)},
          {"metrics", {{"bytes", manifest.metrics_bytes}, {"sha256", manifest.metrics_sha256}}},
          {"next_micro_batch", next_micro_batch(stage.plan, state.step)},
          {"parent", text_or_null(identity.parent.value_or(""))},
          {"plan_sha256", stage.plan_sha256},
          {"rng", {{"algorithm", "philox4x32-10"}, {"seed", stage.config.seed}}},
          {"stage", stage.name},
          {"step", state.step},
          {"tokenizer_sha256", text_or_null(stage.data.tokenizer_sha256)},
          {"version", version()}};
}

std::size_t manifest_bytes(const PreparedStage& stage, const RunIdentity& identity) {
  constexpr std::size_t kDigits = 20;
  const Manifest first{initial_state(stage), 0, sha256_hex("")};
  return canonical_json(manifest_json(stage, identity, first)).size() + kDigits * first.state.tokens_of_file.size();
}

Manifest read_manifest(const JsonValue& json, const PreparedStage& stage) {
  check_same_run(json, stage);
  Manifest manifest{initial_state(stage), 0, ""};
  TrainingState& state = manifest.state;
  state.step = read_count(json, "step");
  state.adam_step = read_count(member(json, "adam"), "t");
  state.guards.restore(member(json, "guards"));
  read_ledger(member(json, "ledger"), state);
  const JsonValue& metrics = member(json, "metrics");
  manifest.metrics_bytes = read_count(metrics, "bytes");
  manifest.metrics_sha256 = text_member(metrics, "sha256");
  return manifest;
}

}  // namespace shori
