#include "shori/train/recipe.h"

#include <algorithm>
#include <memory>
#include <span>

#include "shori/train/adapter_file.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/utf8.h"
#include "src/train/plan/stage_options.h"
#include "src/train/stage/trainer.h"

namespace shori {
namespace {

std::size_t index_of_stage(const std::vector<PreparedStage>& stages, const std::string& name, const char* option) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].stage.name == name) return i;
    names.push_back(stages[i].stage.name);
  }
  Diagnostic diagnostic("E0113", std::string("`") + option + " " + escape_for_log(name) + "`: no such stage");
  std::string list;
  for (const std::string& known : names) list += (list.empty() ? "" : " ") + known;
  diagnostic.note("stages: " + list);
  const std::string similar = find_similar_name(name, names);
  if (!similar.empty()) diagnostic.help("a stage with a similar name exists: `" + similar + "`");
  throw Error(diagnostic);
}

void print_lines(const std::string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    log_info(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

void print_preparation(const LoadedConfig& config, const std::vector<PreparedStage>& stages) {
  for (const std::string& note : config.notes) log_info(note);
  for (const PreparedStage& stage : stages) {
    log_info("--- stage " + stage.stage.name + ": resolved config ---");
    print_lines(resolved_config_text(stage.stage));
    log_info("--- stage " + stage.stage.name + ": data ---");
    print_lines(stage.ledger.to_text());
    const std::vector<std::int32_t>& ids = stage.data.train.front().ids;
    std::string first;
    for (std::size_t i = 0; i < std::min<std::size_t>(8, ids.size()); ++i) first += " " + std::to_string(ids[i]);
    log_info("first ids of sample 1:" + first);
    log_info(stage.data.prepared);
    for (const std::string& file : stage.data.ignored_files) log_info("file passed over: " + escape_for_log(file, 200));
    for (const std::string& unknown : stage.data.unknown_keys) log_info("not used: " + escape_for_log(unknown, 200));
  }
  print_lines(stage_table(stages));
}

// Run folder, adapter folder or checkpoint that a stage begins from; empty: a fresh adapter.
std::string source_of(const std::vector<PreparedStage>& stages, const PreparedStage& stage) {
  const int previous = stage.stage.previous_stage;
  return previous >= 0 ? stages[static_cast<std::size_t>(previous)].folder.path() : stage.stage.config.init_from;
}

std::string command_for(const LoadedConfig& config, const std::string& option) {
  return "shori-train " + config.file + option;
}

// The stages that a command trains: `only` alone if it names one, those from `from` on once more. Each is the number of
// stages where the option is not given.
struct Chosen {
  std::size_t count = 0, from = 0, only = 0;

  bool contains(std::size_t stage) const { return only == count || stage == only; }
  bool retrains(std::size_t stage) const { return stage >= from; }
};

Chosen choose_stages(const std::vector<PreparedStage>& stages, const RecipeOptions& options) {
  Chosen chosen{stages.size(), stages.size(), stages.size()};
  if (!options.from.empty()) chosen.from = index_of_stage(stages, options.from, "--from");
  if (!options.only.empty()) chosen.only = index_of_stage(stages, options.only, "--only");
  return chosen;
}

// A changed stage makes all behind it changed as well. So the first one is named, whichever of them is asked for, and
// the proposed command begins there: one that begins later would be refused.
[[noreturn]] void refuse_changed(const LoadedConfig& config, const std::vector<PreparedStage>& stages,
                                 const PreparedStage& stage) {
  const auto first =
      std::ranges::find_if(stages, [](const PreparedStage& s) { return s.state == StageState::kChanged; });
  std::vector<Diagnostic> diagnostics = first->changes;
  if (&*first != &stage) {
    diagnostics.front().note("stage " + stage.stage.name + " depends on stage " + first->stage.name);
    diagnostics.insert(diagnostics.end(), stage.changes.begin(), stage.changes.end());
  }
  const bool interrupted =
      std::any_of(stages.begin(), first, [](const PreparedStage& s) { return s.state == StageState::kInterrupted; });
  if (config.is_recipe)
    diagnostics.back().help("retrain from there on: " +
                            command_for(config, " --from " + first->stage.name + (interrupted ? " --resume" : "")));
  throw Error(diagnostics);
}

[[noreturn]] void refuse_interrupted(const LoadedConfig& config, const PreparedStage& stage) {
  throw Error(Diagnostic("E0507", "`" + stage.folder.path() + "` already holds a run (step " +
                                      std::to_string(stage.step) + " of " + std::to_string(stage.total_steps()) + ")")
                  .help("go on with it: " + command_for(config, " --resume"))
                  .help("or train elsewhere: another `output_dir`"));
}

// A new run replaces adapter/ when it ends, and pinned checkpoints as it meets their steps. Without checkpoint and
// done.json nobody can say whose they are.
void refuse_remains(const PreparedStage& stage) {
  const RunFolder& folder = stage.folder;
  for (const std::string& remains : {folder.adapter(), folder.pinned(), folder.requested(), folder.damaged()})
    if (path_exists(remains))
      throw Error(Diagnostic("E0507", "`" + folder.path() + "` holds no run to go on with, but the remains of one")
                      .note("there is " + remains)
                      .help("another `output_dir`, or move that folder away"));
}

// What the user must decide, found before a weight is loaded and a folder moved: a changed stage, an interrupted one
// without --resume, an adapter to begin from that is not there.
void refuse_unclear(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const Chosen& chosen,
                    const RecipeOptions& options) {
  bool begun = false;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const PreparedStage& stage = stages[i];
    if (!chosen.contains(i)) continue;
    const StageState state = chosen.retrains(i) ? StageState::kToTrain : stage.state;
    if (state == StageState::kDone) continue;
    if (state == StageState::kChanged) refuse_changed(config, stages, stage);
    if (state == StageState::kInterrupted && !options.resume) refuse_interrupted(config, stage);
    if (state == StageState::kToTrain && !chosen.retrains(i)) refuse_remains(stage);
    // Later stages begin from what this one will have trained.
    const std::string source = source_of(stages, stage);
    if (state == StageState::kToTrain && !begun && !source.empty()) find_adapter_source(source);
    begun = true;
  }
}

// Another program that works in a folder to be moved is noticed before the first one is. The locks go along with the
// folders.
std::vector<RunLock> lock_old_folders(const std::vector<PreparedStage>& stages, std::size_t first) {
  std::vector<RunLock> locks;
  for (std::size_t i = first; i < stages.size(); ++i) {
    const std::string& path = stages[i].folder.path();
    if (is_directory(path) && !is_symlink(path)) locks.push_back(RunLock::take(path));
  }
  return locks;
}

void forget_runs(std::vector<PreparedStage>& stages, std::size_t first) {
  for (std::size_t i = first; i < stages.size(); ++i) {
    stages[i].state = StageState::kToTrain;
    stages[i].step = 0;
    stages[i].changes.clear();
    stages[i].adapter_sha256.reset();
  }
}

void move_aside_from(const std::vector<PreparedStage>& stages, std::size_t first) {
  for (std::size_t i = first; i < stages.size(); ++i)
    if (path_exists(stages[i].folder.path()))
      log_info("moved " + stages[i].folder.path() + " to " + move_aside(stages[i].folder.path()));
}

// E0506 when --resume has nothing to go on with.
void check_resume(const std::vector<PreparedStage>& stages) {
  const bool any = std::any_of(stages.begin(), stages.end(),
                               [](const PreparedStage& stage) { return stage.state != StageState::kToTrain; });
  if (!any)
    throw Error(Diagnostic("E0506", "`" + stages.front().folder.path() + "` has no usable checkpoint")
                    .help("start it without --resume"));
}

// What stages must have in common for one to go on with the base that the one before has loaded.
std::string base_key(const TrainConfig& config) {
  std::string key = std::string(stage_device(config) == Device::kCpu ? "cpu " : "device ") + config.base_model;
  key += std::string(config.bf16 ? " bf16" : " fp32") + (config.load_in_4bit ? " nf4" : " dense");
  key += " r" + std::to_string(config.lora_r) + " a" + std::to_string(config.lora_alpha);
  for (const std::string& target : config.lora_target_modules) key += " " + target;
  key += " " + config.gpu_memory_limit;  // the memory it lies in
  return key;
}

// Of the device that is here, or of the one the user describes.
DeviceLimits limits_of(const TrainConfig& config, const RecipeOptions& options) {
  DeviceLimits limits;
  if (options.gpu_memory) {
    limits = {*options.gpu_memory, *options.gpu_memory, options.sm_count};
  } else {
    const DeviceInfo& info = open_device();
    // What the driver took for this process when it was opened is part of the plan.
    limits = {std::min(info.total_bytes, info.free_bytes + kDriverBytes), info.total_bytes, info.sm_count};
  }
  if (const auto limit = parse_byte_size(config.gpu_memory_limit)) {
    limits.limit_bytes = std::min(limits.limit_bytes, *limit);
  }
  return limits;
}

// The memory of stages that share a base, and their tables.
void plan_base_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  const TrainConfig& shared = stages.front()->stage.config;
  const bool described = options.plan && options.gpu_memory;
  if (!described && stage_device(shared) == Device::kCpu) return;
  for (const PreparedStage* stage : stages) {
    if (!described) break;
    Diagnostics diagnostics;
    check_device_support(*stage, diagnostics);
    diagnostics.throw_if_errors();
  }
  const DeviceLimits limits = limits_of(shared, options);
  choose_memory_plans(stages, limits);
  for (const PreparedStage* stage : stages) {
    log_info("--- stage " + stage->stage.name + ": GPU memory of " + std::to_string(stage->memory->tokens) +
             " tokens a micro-batch, bytes ---");
    print_lines(memory_table(*stage->memory, limits));
  }
}

// The memory of every stage that will train on a device. Neighbours with one base keep it loaded.
void plan_device_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  while (!stages.empty()) {
    const std::string key = base_key(stages.front()->stage.config);
    const auto other =
        std::ranges::find_if(stages, [&](const PreparedStage* stage) { return base_key(stage->stage.config) != key; });
    const auto count = static_cast<std::size_t>(other - stages.begin());
    plan_base_memory(stages.first(count), options);
    stages = stages.subspan(count);
  }
}

bool is_strict(const LoadedConfig& config) {
  return std::any_of(config.stages.begin(), config.stages.end(),
                     [](const StageConfig& stage) { return stage.config.warnings_as_errors; });
}

}  // namespace

RecipeOutcome run_recipe(const LoadedConfig& config, const RecipeOptions& options) {
  const bool strict = is_strict(config);
  set_warnings_as_errors(strict);
  Diagnostics diagnostics;
  std::vector<PreparedStage> stages = prepare_stages(config, !options.check && !options.plan, diagnostics);
  diagnostics.throw_if_errors(strict);
  for (const Diagnostic& diagnostic : diagnostics.all()) log_warning(diagnostic);
  find_stage_states(stages);
  const Chosen chosen = choose_stages(stages, options);
  print_preparation(config, stages);
  if (!options.check && !options.plan) {
    if (options.resume) check_resume(stages);
    refuse_unclear(config, stages, chosen, options);
  }
  std::vector<PreparedStage*> to_train;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const bool done = stages[i].state == StageState::kDone && !chosen.retrains(i);
    if (options.plan || (chosen.contains(i) && !done)) to_train.push_back(&stages[i]);
  }
  if (!options.check) plan_device_memory(to_train, options);
  if (options.check || options.plan) {
    for (const PreparedStage& stage : stages)
      if (stage.state == StageState::kChanged) throw Error(stage.changes);
    return RecipeOutcome::kDone;
  }
  // The recipe's own lock keeps a second program away from the folders that are still to be made.
  std::optional<RunLock> lock;
  if (config.is_recipe) lock = RunLock::take(config.output_dir);
  std::vector<RunLock> old_folders = lock_old_folders(stages, chosen.from);
  forget_runs(stages, chosen.from);
  bool moved = chosen.from == stages.size();
  const auto make_room = [&] {
    if (moved) return;
    moved = true;
    move_aside_from(stages, chosen.from);
    old_folders.clear();
  };
  LoadedBase base;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    PreparedStage& stage = stages[i];
    if (!chosen.contains(i)) continue;
    if (stage.state == StageState::kDone) {
      log_info("stage " + stage.stage.name + " is done (" + std::to_string(stage.step) + " steps): passed over");
      continue;
    }
    TrainerOptions trainer;
    trainer.make_room = make_room;
    trainer.folder_is_old = !moved && chosen.retrains(i);
    trainer.resume = stage.state == StageState::kInterrupted;
    trainer.profile_first = options.profile_first;
    trainer.profile_last = options.profile_last;
    trainer.resume_command = command_for(config, " --resume");
    trainer.init_from = source_of(stages, stage);
    if (base.key != base_key(stage.stage.config)) {
      base = LoadedBase();
      base.key = base_key(stage.stage.config);
    }
    if (!train_stage(stage, base, trainer)) return RecipeOutcome::kStopped;
    const bool more = i + 1 < stages.size() && options.only.empty();
    if (more && stop_requested()) return RecipeOutcome::kStopped;
  }
  return RecipeOutcome::kDone;
}

}  // namespace shori
