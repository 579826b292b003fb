#include "src/config/check_stage.h"

#include <algorithm>

#include "shori/util/byte_size.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// What a message about keys that do not go together says beside the keys.
struct Conflict {
  std::string message;
  std::string note;
  std::string cure;
  std::string code = "E0107";
};

class StageChecker {
 public:
  StageChecker(const Settings& settings, const std::set<std::string>& unread, StageConfig& stage,
               Diagnostics& diagnostics)
      : settings_(settings), unread_(unread), stage_(stage), config_(stage.config), diagnostics_(diagnostics) {}

  void check() {
    check_precision();
    check_lora_modules();
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

  // Shown at the first of `keys` that is set, with the place of the others. Says nothing if one of them could not be
  // read: its default would be compared.
  void conflict(std::initializer_list<std::string> keys, const Conflict& what) {
    Diagnostic diagnostic(what.code, what.message);
    bool placed = false;
    for (const std::string& key : keys) {
      if (unread_.contains(key)) return;
      const Setting* setting = set(key);
      if (setting == nullptr) continue;
      const SourceLocation place = setting->key_place();
      if (placed) {
        diagnostic.note("`" + key + "` stands at " + place.file + ":" + std::to_string(place.line) + ":" +
                        std::to_string(place.column));
      } else {
        diagnostic.at(place);
      }
      placed = true;
    }
    if (!what.note.empty()) diagnostic.note(what.note);
    diagnostics_.add(std::move(diagnostic.help(what.cure)));
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
      conflict({"fp16"}, {"`fp16: true` is not offered", "float16 would need loss scaling; bfloat16 does not",
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
               {"`lora_target_linear: true` does not go with a part of the modules",
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
               {"`" + std::string(key) + "` does not go with `train_on_inputs: true`", "every token is a target then",
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

  void check_completion(const DataEntry& entry) {
    if (entry.type != "completion" || config_.train_on_inputs || unread_.contains("train_on_inputs")) return;
    diagnostics_.add(Diagnostic("E0107", "`type: completion` does not go with `train_on_inputs: false`")
                         .at(entry.place)
                         .note("such a text has no roles by which tokens could be chosen")
                         .help("write `train_on_inputs: true`, or `type: blockml_jsonl`"));
  }

  void check_compat() {
    const bool compat = config_.compat == CompatMode::kAxolotl2024;
    if (compat && config_.blockml.eos != EosRule::kEnd) {
      const std::string word(word_of(config_.blockml.eos));
      conflict({"blockml.eos", "compat"},
               {"`blockml.eos: " + word + "` does not go with `compat: axolotl-2024`",
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
      conflict({key}, {"this config trains 0 steps", "`" + std::string(key) + ": 0`",
                       "write `" + std::string(key) + ": 1` or more", "E0115"});
    }
    if (config_.warmup_steps > 0 && config_.lr_scheduler == LrScheduler::kConstant) {
      conflict({"warmup_steps", "lr_scheduler"},
               {"`warmup_steps` does not go with `lr_scheduler: constant`",
                "that schedule has one rate in every step and would ignore the warm-up",
                "delete the line, or write `lr_scheduler: linear` or `lr_scheduler: cosine`"});
    }
  }

  void check_start() {
    const bool begins_afresh = config_.init_from.empty() && stage_.previous_stage < 0;
    if (!begins_afresh || config_.optimizer_state != OptimizerStart::kCarry) return;
    conflict({"optimizer_state", "init_from"},
             {"`optimizer_state: carry` has nothing to carry from", "there is neither `init_from` nor an earlier stage",
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
    diagnostics_.add(Diagnostic("E0104", "`gpu_memory_limit` wants an amount such as 22GiB, found `" +
                                             escape_for_log(config_.gpu_memory_limit) + "`")
                         .at(set("gpu_memory_limit")->value_place())
                         .note("units: KiB, MiB, GiB (powers of 1024), KB, MB, GB (powers of 1000)"));
  }

  const Settings& settings_;
  const std::set<std::string>& unread_;
  StageConfig& stage_;
  TrainConfig& config_;
  Diagnostics& diagnostics_;
};

}  // namespace

void check_stage(const Settings& settings, const std::set<std::string>& unread, StageConfig& stage,
                 Diagnostics& diagnostics) {
  StageChecker(settings, unread, stage, diagnostics).check();
}

std::vector<std::string> stage_notes(const StageConfig& stage) {
  std::vector<std::string> notes;
  const TrainConfig& config = stage.config;
  const bool evaluates = config.val_set_size > 0 || !config.test_datasets.empty();
  if (config.eval_steps && !evaluates) {
    notes.push_back("`eval_steps` has no effect: neither `val_set_size` nor `test_datasets` is set");
  }
  if (!config.loss_watchdog_threshold && stage.origins.contains("loss_watchdog_patience")) {
    notes.push_back("`loss_watchdog_patience` has no effect: `loss_watchdog_threshold` is not set");
  }
  return notes;
}

void check_stage_name(const std::string& name, const SourceLocation& place, Diagnostics& diagnostics) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == ' ';
  };
  const bool good = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), allowed) &&
                    name.front() != '.' && name.front() != ' ' && name.back() != ' ';
  if (good) return;
  const std::string found = "found `" + escape_for_log(name) + "`";
  diagnostics.add(Diagnostic("E0104", "`name` wants a name that can be a folder's, " + found)
                      .at(place)
                      .note("letters, digits, `-`, `_`, `.` and spaces, at most 64, no `.` in front"));
}

}  // namespace shori
