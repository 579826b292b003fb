#include "src/config/check_stage.h"

#include <algorithm>

#include "shori/util/byte_size.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// A message about keys that do not go together.
struct Conflict {
  std::string message;
  std::string note;
  std::string help;
  std::string code = "E0107";
};

class StageChecker {
 public:
  StageChecker(const Settings& settings, const std::set<std::string>& refused, StageConfig& stage,
               Diagnostics& diagnostics)
      : settings_(settings), refused_(refused), stage_(stage), config_(stage.config), diagnostics_(diagnostics) {}

  void check() {
    check_precision();
    check_lora_modules();
    derive_train_on_inputs();
    check_masks();
    check_compat();
    check_steps();
    check_start();
    check_evaluation();
    check_memory_limit();
  }

 private:
  const Setting* set(std::string_view key) const {
    const Setting* setting = find_setting(settings_, key);
    return setting != nullptr && setting->value.kind != YamlNode::Kind::kNull ? setting : nullptr;
  }

  // Reports `what` at the first of `keys` that is set, and names the location of the others. Reports nothing if the value
  // of one of them was refused: its default would be compared.
  void conflict(std::initializer_list<std::string> keys, const Conflict& what) {
    Diagnostic diagnostic(what.code, what.message);
    bool placed = false;
    for (const std::string& key : keys) {
      if (refused_.contains(key)) return;
      const Setting* setting = set(key);
      if (setting == nullptr) continue;
      const SourceLocation location = setting->key_location();
      if (placed) {
        diagnostic.note(concat("`", key, "` is set at ", location.file, ":", location.line, ":", location.column));
      } else {
        diagnostic.at(location);
      }
      placed = true;
    }
    if (!what.note.empty()) diagnostic.note(what.note);
    diagnostics_.add(std::move(diagnostic.help(what.help)));
  }

  void check_precision() {
    if (config_.adapter == AdapterKind::kQlora && !config_.load_in_4bit) {
      conflict({"load_in_4bit", "adapter"}, {"`load_in_4bit: false` does not go with `adapter: qlora`",
                                             "16-bit weights of a 7B model need 14.5 GB instead of 3.9",
                                             "write `load_in_4bit: true`, or `adapter: lora`"});
    }
    if (config_.adapter == AdapterKind::kLora && config_.load_in_4bit) {
      conflict({"adapter", "load_in_4bit"}, {"`adapter: lora` does not go with `load_in_4bit: true`",
                                             "`load_in_4bit` is true by default; `lora` trains on 16-bit weights",
                                             "write `load_in_4bit: false`, or `adapter: qlora`"});
    }
    if (config_.fp16) {
      conflict({"fp16"}, {"`fp16: true` is not supported", "float16 needs loss scaling; bfloat16 does not",
                          "write `fp16: false`, and `bf16: true` or `bf16: false` (fp32)"});
    }
  }

  void check_lora_modules() {
    const bool named = set("lora_target_modules") != nullptr;
    const bool all = config_.lora_target_modules.size() == kLoraModules.size();
    if (config_.lora_target_modules.empty() || (!named && !config_.lora_target_linear)) {
      conflict({"lora_target_modules", "lora_target_linear"},
               {"no module would get an adapter", "",
                "write `lora_target_linear: true`, or name modules: " + join_words(kLoraModules)});
    } else if (set("lora_target_linear") != nullptr && config_.lora_target_linear && !all) {
      conflict({"lora_target_modules", "lora_target_linear"},
               {"`lora_target_linear: true` does not go with only some of the modules",
                "`lora_target_modules` names " + join_words(config_.lora_target_modules),
                "write `lora_target_linear: false`, or delete `lora_target_modules`"});
    }
    if (config_.lora_target_linear != all && set("lora_target_linear") == nullptr) {
      stage_.origins["lora_target_linear"].kind = ValueOrigin::Kind::kDerived;
    }
    config_.lora_target_linear = all;
  }

  void check_masks() {
    for (const char* key : {"roles_to_train", "train_on_eos", "blockml.train_on_speaker"}) {
      if (!config_.train_on_inputs || set(key) == nullptr) continue;
      conflict({key, "train_on_inputs"},
               {concat("`", key, "` does not go with `train_on_inputs: true`"), "then every token is a target",
                "delete the line, or write `train_on_inputs: false`"});
    }
    if (config_.roles_to_train.empty()) {
      conflict({"roles_to_train"},
               {"`roles_to_train` is empty: no block would be trained", "", "write `roles_to_train: [message]`"});
    }
    for (const DatasetList* list : {&config_.datasets, &config_.test_datasets}) {
      for (const DataEntry& entry : *list) check_completion(entry);
    }
  }

  // A completion is trained as a whole, whatever `train_on_inputs` says, as in Axolotl.
  void derive_train_on_inputs() {
    const auto is_completion = [](const DataEntry& entry) { return entry.type == word_of(DataType::kCompletion); };
    const bool all = std::ranges::all_of(config_.datasets, is_completion) &&
                     std::ranges::all_of(config_.test_datasets, is_completion);
    if (config_.train_on_inputs || config_.datasets.empty() || !all || refused_.contains("train_on_inputs")) return;
    config_.train_on_inputs = true;
    ValueOrigin& origin = stage_.origins["train_on_inputs"];
    origin.kind = ValueOrigin::Kind::kDerived;
    if (set("train_on_inputs") != nullptr) origin.written = "train_on_inputs: false";
  }

  void check_completion(const DataEntry& entry) {
    if (entry.type != word_of(DataType::kCompletion) || config_.train_on_inputs || refused_.contains("train_on_inputs"))
      return;
    diagnostics_.add(Diagnostic("E0107", "`type: completion` does not go with `train_on_inputs: false`")
                         .at(entry.location)
                         .note("a completion has no roles that choose the targets")
                         .help("write `train_on_inputs: true`, or `type: blockml_jsonl`"));
  }

  void check_compat() {
    const bool compat = config_.compat == CompatMode::kAxolotl2024;
    if (compat && config_.blockml.eos != EosRule::kEnd) {
      conflict({"blockml.eos", "compat"},
               {concat("`blockml.eos: ", word_of(config_.blockml.eos), "` does not go with `compat: axolotl-2024`"),
                "Axolotl ends every sample with the end-of-text token", "delete one of the two lines"});
    }
    if (config_.axolotl_step_estimate && !compat) {
      conflict({"axolotl_step_estimate", "compat"},
               {"`axolotl_step_estimate: true` goes only with `compat: axolotl-2024`", "",
                "delete the line: steps are counted exactly"});
    }
  }

  void check_steps() {
    for (const char* key : {"num_epochs", "max_steps"}) {
      const bool none = key == std::string("num_epochs") ? config_.num_epochs == 0 : config_.max_steps == 0;
      if (!none) continue;
      conflict({key}, {"this config trains 0 steps", concat("`", key, ": 0`"), concat("write `", key, ": 1` or more"),
                       "E0115"});
    }
    if (config_.warmup_steps > 0 && config_.lr_scheduler == LrScheduler::kConstant) {
      conflict({"warmup_steps", "lr_scheduler"},
               {"`warmup_steps` does not go with `lr_scheduler: constant`",
                "that schedule has the same rate in every step and would ignore the warm-up",
                "delete the line, or write `lr_scheduler: linear` or `lr_scheduler: cosine`"});
    }
  }

  void check_start() {
    const bool is_fresh = config_.init_from.empty() && stage_.previous_stage < 0;
    if (!is_fresh || config_.optimizer_state != OptimizerStart::kCarry) return;
    conflict({"optimizer_state", "init_from"},
             {"`optimizer_state: carry` has no state to carry", "there is neither `init_from` nor an earlier stage",
              "name a run in `init_from`, or delete the line"});
  }

  void check_evaluation() {
    if (config_.val_set_size == 0 || config_.test_datasets.empty()) return;
    conflict({"val_set_size", "test_datasets"},
             {"`val_set_size` does not go with `test_datasets`", "there would be two kinds of evaluation data",
              "delete one of the two"});
  }

  void check_memory_limit() {
    if (config_.gpu_memory_limit.empty() || parse_byte_size(config_.gpu_memory_limit)) return;
    diagnostics_.add(Diagnostic("E0104", concat("`gpu_memory_limit` must be an amount such as 22GiB, found `",
                                                escape_for_log(config_.gpu_memory_limit), "`"))
                         .at(set("gpu_memory_limit")->value_location())
                         .note("units: KiB, MiB, GiB (powers of 1024), KB, MB, GB (powers of 1000)"));
  }

  const Settings& settings_;
  const std::set<std::string>& refused_;
  StageConfig& stage_;
  TrainConfig& config_;
  Diagnostics& diagnostics_;
};

// A key that does nothing beside the values of others.
struct NoEffect {
  const char* key;
  bool (*applies)(const TrainConfig& config);
  const char* why;
};

const NoEffect kNoEffects[] = {
    {"axolotl_step_estimate", [](const TrainConfig& c) { return c.axolotl_step_estimate && !c.sample_packing; },
     "`sample_packing` is false"},
    {"blockml.repeat_scenario",
     [](const TrainConfig& c) {
       return c.blockml.repeat_scenario && c.excess_length_strategy != OverlongPolicy::kSplit;
     },
     "`excess_length_strategy` is not `split`"},
    {"blockml.train_on_speaker",
     [](const TrainConfig& c) {
       return std::ranges::find(c.roles_to_train, word_of(Role::kMessage)) == c.roles_to_train.end();
     },
     "`roles_to_train` has no `message`"},
    {"adam_zero_gradient_guard",
     [](const TrainConfig& c) { return c.adam_zero_gradient_guard && c.compat == CompatMode::kAxolotl2024; },
     "`compat: axolotl-2024` computes without it"},
    {"gpu_memory_limit", [](const TrainConfig& c) { return c.device == DeviceChoice::kCpu; }, "`device` is cpu"},
    {"nf4_cache", [](const TrainConfig& c) { return !c.load_in_4bit && c.nf4_cache != "off" && c.nf4_cache != "auto"; },
     "`load_in_4bit` is false"},
    {"allow_overlap",
     [](const TrainConfig& c) { return c.allow_overlap && c.val_set_size == 0 && c.test_datasets.empty(); },
     "neither `val_set_size` nor `test_datasets` is set"},
    {"sample_max_tokens", [](const TrainConfig& c) { return c.sample_prompts.empty() && !c.sample_steps; },
     "neither `sample_prompts` nor `sample_steps` is set"},
};

}  // namespace

void check_stage(const Settings& settings, const std::set<std::string>& refused, StageConfig& stage,
                 Diagnostics& diagnostics) {
  StageChecker(settings, refused, stage, diagnostics).check();
}

std::vector<Diagnostic> stage_warnings(const StageConfig& stage) {
  std::vector<Diagnostic> warnings;
  const TrainConfig& config = stage.config;
  const auto warn = [&](const std::string& key, const std::string& name, const std::string& why) {
    warnings.push_back(Diagnostic("W0101", concat("`", name, "` has no effect: ", why))
                           .at(stage.origin(key).location)
                           .help("delete the line"));
  };
  const bool evaluates = config.val_set_size > 0 || !config.test_datasets.empty();
  const bool share = stage.shares.evals_per_epoch.has_value();
  if ((config.eval_steps || share) && !evaluates)
    warn("eval_steps", share ? "evals_per_epoch" : "eval_steps", "neither `val_set_size` nor `test_datasets` is set");
  if (!config.sample_prompts.empty() && !config.sample_steps && !evaluates)
    warn("sample_prompts", "sample_prompts", "neither `sample_steps`, `val_set_size` nor `test_datasets` is set");
  for (const NoEffect& row : kNoEffects)
    if (stage.is_set(row.key) && row.applies(config)) warn(row.key, row.key, row.why);
  if (!config.loss_watchdog_threshold && stage.origins.contains("loss_watchdog_patience"))
    warn("loss_watchdog_patience", "loss_watchdog_patience", "`loss_watchdog_threshold` is not set");
  if (stage.origin("adapter").kind == ValueOrigin::Kind::kLeftEmpty)
    warnings.push_back(Diagnostic("W0101", concat("`adapter` is empty: `", word_of(config.adapter), "` is trained"))
                           .at(stage.origin("adapter").location)
                           .note("in Axolotl an empty `adapter` trains the whole model, which this program does not")
                           .help("write `adapter: qlora`, or `adapter: lora` with `load_in_4bit: false`"));
  return warnings;
}

void check_stage_name(const std::string& name, const SourceLocation& location, Diagnostics& diagnostics) {
  if (is_category_name(name)) return;
  diagnostics.add(
      Diagnostic("E0104", concat("`name` must be usable as a folder name, found `", escape_for_log(name), "`"))
          .at(location)
          .note(std::string(kNameRule)));
}

}  // namespace shori
