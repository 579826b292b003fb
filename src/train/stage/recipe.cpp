#include "shori/train/recipe.h"

#include <algorithm>
#include <memory>
#include <span>

#include "shori/train/prepared_stage.h"
#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/utf8.h"
#include "src/train/plan/stage_options.h"
#include "src/train/stage/run_stage.h"

namespace shori {
namespace {

std::size_t index_of_stage(const std::vector<PreparedStage>& stages, const std::string& name, const char* option) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].name == name) return i;
    names.push_back(stages[i].name);
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
    log_info("--- stage " + stage.name + ": resolved config ---");
    print_lines(resolved_config_text(stage));
    log_info("--- stage " + stage.name + ": data ---");
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

std::string command_for(const LoadedConfig& config, const std::string& option) {
  return "shori-train " + config.file + option;
}

// What the user must decide: a changed stage, or an interrupted one without --resume.
void refuse_unclear(const LoadedConfig& config, const PreparedStage& stage, const RecipeOptions& options) {
  if (stage.state == StageState::kChanged) {
    std::vector<Diagnostic> diagnostics = stage.changes;
    if (config.is_recipe)
      diagnostics.back().help("retrain from here on: " + command_for(config, " --from " + stage.name));
    throw Error(diagnostics);
  }
  if (stage.state == StageState::kInterrupted && !options.resume)
    throw Error(Diagnostic("E0507", "`" + stage.folder.path() + "` already holds a run (step " +
                                        std::to_string(stage.step) + " of " + std::to_string(stage.total_steps()) + ")")
                    .help("go on with it: " + command_for(config, " --resume"))
                    .help("or train elsewhere: another `output_dir`"));
}

void move_aside_from(std::vector<PreparedStage>& stages, std::size_t first) {
  for (std::size_t i = first; i < stages.size(); ++i) {
    if (path_exists(stages[i].folder.path()))
      log_info("moved " + stages[i].folder.path() + " to " + move_aside(stages[i].folder.path()));
    stages[i].state = StageState::kToTrain;
    stages[i].step = 0;
    stages[i].changes.clear();
    stages[i].adapter_sha256.reset();
  }
}

// E0506 when --resume has nothing to go on with.
void check_resume(const std::vector<PreparedStage>& stages) {
  const bool any = std::any_of(stages.begin(), stages.end(),
                               [](const PreparedStage& stage) { return stage.state != StageState::kToTrain; });
  if (!any)
    throw Error(Diagnostic("E0506", "`" + stages.front().folder.path() + "` has no usable checkpoint")
                    .help("start it without --resume"));
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
  const TrainConfig& shared = stages.front()->config;
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
    log_info("--- stage " + stage->name + ": GPU memory of " + std::to_string(stage->memory->tokens) +
             " tokens a micro-batch, bytes ---");
    print_lines(memory_table(*stage->memory, limits));
  }
}

// The memory of every stage that will train on a device. Neighbours with one base keep it loaded.
void plan_device_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  while (!stages.empty()) {
    const std::string key = base_key(stages.front()->config);
    const auto other =
        std::ranges::find_if(stages, [&](const PreparedStage* stage) { return base_key(stage->config) != key; });
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
  const std::size_t from = options.from.empty() ? stages.size() : index_of_stage(stages, options.from, "--from");
  const std::size_t only = options.only.empty() ? stages.size() : index_of_stage(stages, options.only, "--only");
  print_preparation(config, stages);
  std::vector<PreparedStage*> to_train;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const bool chosen = only == stages.size() || i == only, done = stages[i].state == StageState::kDone && i < from;
    if (options.plan || (chosen && !done)) to_train.push_back(&stages[i]);
  }
  if (!options.check) plan_device_memory(to_train, options);
  if (options.check || options.plan) {
    for (const PreparedStage& stage : stages)
      if (stage.state == StageState::kChanged) throw Error(stage.changes);
    return RecipeOutcome::kDone;
  }
  if (options.resume) check_resume(stages);

  // The recipe's own lock keeps a second program away from the folders that are still to be made.
  std::optional<RunLock> lock;
  if (config.is_recipe) lock = RunLock::take(config.output_dir);
  move_aside_from(stages, from);
  std::optional<LoadedBase> base;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    PreparedStage& stage = stages[i];
    if (only != stages.size() && i != only) continue;
    if (stage.state == StageState::kDone) {
      log_info("stage " + stage.name + " is done (" + std::to_string(stage.step) + " steps): passed over");
      continue;
    }
    refuse_unclear(config, stage, options);
    StageRunOptions run;
    run.resume = stage.state == StageState::kInterrupted;
    run.profile_first = options.profile_first;
    run.profile_last = options.profile_last;
    run.resume_command = command_for(config, " --resume");
    run.init_from = stage.previous_stage >= 0 ? stages[static_cast<std::size_t>(stage.previous_stage)].folder.path()
                                              : stage.config.init_from;
    if (!run_stage(stage, base, run)) return RecipeOutcome::kStopped;
    const bool more = i + 1 < stages.size() && only == stages.size();
    if (more && stop_requested()) return RecipeOutcome::kStopped;
  }
  return RecipeOutcome::kDone;
}

}  // namespace shori
