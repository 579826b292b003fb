#include "shori/train/recipe.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <span>

#include "shori/train/report.h"
#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/screen/log_lines.h"
#include "src/train/screen/stage_table.h"
#include "src/train/screen/start_screen.h"
#include "src/train/stage/device_memory.h"
#include "src/train/stage/old_runs.h"
#include "src/train/stage/run_stage.h"
#include "src/train/stage/stage_choice.h"
#include "src/train/stage/start_adapter.h"

namespace shori {
namespace {

std::string describe_encoding(const Tokenizer& tokenizer) {
  if (tokenizer.uses_word_cache()) return "tokenizer: word by word, with a cache";
  return concat("tokenizer: the SentencePiece library encodes every text, because ", tokenizer.word_cache_obstacle());
}

void log_config(const PreparedStage& stage) {
  log_detail(concat("--- stage ", stage.name, ": resolved config ---"));
  log_lines(resolved_config_text(stage), log_detail);
}

// `log`: a run that begins shows all of this in train.log, and a terminal only what differs.
void log_stage(const PreparedStage& stage, void (*log)(std::string_view)) {
  log(concat("--- stage ", stage.name, ": data ---"));
  if (stage.base->tokenizer) log_detail(describe_encoding(*stage.base->tokenizer));
  log_lines(stage.ledger.to_text(), log);
  const std::vector<std::int32_t>& ids = stage.data.train.front().ids;
  std::string first;
  for (std::size_t i = 0; i < std::min<std::size_t>(8, ids.size()); ++i) first += concat(" ", ids[i]);
  log("first ids of sample 1:" + first);
  log(stage.data.prepared);
  for (const std::string& file : stage.data.ignored_files) log("file skipped: " + escape_for_log(file, 200));
  for (const std::string& change : stage.data.text_changes) log("normalized: " + change);
  for (const std::string& unknown : stage.data.unknown_keys) log("not used: " + escape_for_log(unknown, 200));
}

void log_preparation(const LoadedConfig& config, const std::vector<PreparedStage>& stages, bool trains) {
  for (const std::string& note : config.notes) log_info(note);
  for (const PreparedStage& stage : stages) {
    // Whoever asks for a check or a plan wants its result, not pages of YAML before it.
    if (trains || is_verbose()) log_config(stage);
    log_stage(stage, trains ? log_detail : log_info);
  }
  if (trains) show_start(stages);
  log_lines(stage_table(stages));
}

bool is_strict(const LoadedConfig& config) {
  return std::ranges::any_of(config.stages, [](const StageConfig& stage) { return stage.config.warnings_as_errors; });
}

void add_problems(Diagnostics& diagnostics, const std::function<void()>& check) {
  try {
    check();
  } catch (const Error& error) {
    diagnostics.add(error);
  }
}

// Whether there is an adapter at each `init_from`. A run that goes on needs it no more.
void find_sources(const LoadedConfig& config, Diagnostics& diagnostics) {
  for (const StageConfig& stage : config.stages) {
    const std::string& from = stage.config.init_from;
    const RunFolder folder(run_folder_path(stage.config.output_dir));
    const bool has_run = is_directory(folder.path()) && path_exists(join_path(folder.path(), "run.json"));
    if (stage.previous_stage >= 0 || from.empty() || has_run) continue;
    add_problems(diagnostics, [&] { check_start_adapter(stage.config, from, nullptr); });
  }
}

// Every stage with its data and the state of its folder. Everything that is wrong with any of them is one Error.
std::vector<PreparedStage> load_stages(const LoadedConfig& config, bool on_described_gpu) {
  Diagnostics diagnostics;
  for (const Diagnostic& warning : config.warnings) diagnostics.add(warning);
  std::vector<PreparedStage> stages = prepare_stages(config, diagnostics);
  if (diagnostics.has_errors()) find_sources(config, diagnostics);
  if (diagnostics.has_errors() && !on_described_gpu) check_devices(config, diagnostics);
  diagnostics.throw_if_errors(is_strict(config));
  for (const Diagnostic& diagnostic : diagnostics.all()) log_warning(diagnostic);
  find_stage_states(stages);
  return stages;
}

std::vector<PreparedStage*> stages_to_plan(std::vector<PreparedStage>& stages, const StageChoice& choice, bool all) {
  std::vector<PreparedStage*> chosen;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const bool is_done = stages[i].state == StageState::kDone && !choice.retrains(i);
    if (all || (choice.contains(i) && !is_done)) chosen.push_back(&stages[i]);
  }
  return chosen;
}

// The weights themselves, which takes a while.
std::string fingerprint_of(const BaseModel& base) {
  Progress progress(2);
  return base.model->fingerprint([&](std::uint64_t done, std::uint64_t total) {
    progress.live(concat("comparing the base: ", format_bytes(done), " of ", format_bytes(total)));
  });
}

// What a start of the chosen stages would meet: changes since they were trained, an adapter that does not fit, and a
// device that they do not fit.
void check_stages(const std::vector<PreparedStage>& stages, std::span<PreparedStage* const> chosen,
                  const RecipeOptions& options) {
  Diagnostics diagnostics;
  for (const PreparedStage& stage : stages)
    for (const Diagnostic& change : stage.changes) diagnostics.add(change);
  for (const PreparedStage* stage : chosen) {
    const std::string& from = stage->config.init_from;
    if (stage->state != StageState::kToTrain || stage->previous_stage >= 0 || from.empty()) continue;
    add_problems(diagnostics, [&] {
      check_start_adapter(stage->config, from, stage->base.get(), [&] { return fingerprint_of(*stage->base); });
    });
  }
  add_problems(diagnostics, [&] { plan_device_memory(chosen, options); });
  diagnostics.throw_if_errors();
}

// Stages that are trained meet the base of the stage before them in its adapter. Where every stage is done, only the
// weights themselves say whether the base is still the one that they were trained on.
void check_finished_base(const std::vector<PreparedStage>& stages, const StageChoice& choice) {
  std::map<const BaseModel*, std::string> fingerprints;
  std::vector<Diagnostic> changes;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const PreparedStage& stage = stages[i];
    if (stage.state != StageState::kDone || !choice.contains(i) || choice.retrains(i)) continue;
    std::string& now = fingerprints[stage.base.get()];
    if (now.empty()) now = fingerprint_of(*stage.base);
    if (now == stage.trained_base || stage.trained_base.empty()) continue;
    changes.push_back(Diagnostic("E0505", concat("stage ", stage.name, " was trained on another base"))
                          .at(stage.origin("base_model").location)
                          .note(concat("base fingerprint ", stage.trained_base.substr(0, 8), " -> ", now.substr(0, 8)))
                          .note(concat("now: ", escape_for_log(stage.base->folder, 400)))
                          .help("name the base it was trained on, or another `output_dir`"));
  }
  if (!changes.empty()) throw Error(changes);
}

StageRunOptions run_options(const LoadedConfig& config, const std::vector<PreparedStage>& stages,
                            const PreparedStage& stage, std::uint64_t later_steps, std::optional<double> seconds,
                            const RecipeOptions& options) {
  return {.resume = stage.state == StageState::kInterrupted,
          .init_from = source_of(stages, stage),
          .resume_command = resume_command_for(config, options),
          .restart_help = help_to_retrain(config, stage),
          .later_steps = later_steps,
          .seconds_left = seconds,
          .profile_first = options.profile_first,
          .profile_last = options.profile_last};
}

void keep_data(std::vector<PreparedStage>& stages) {
  for (PreparedStage& stage : stages)
    if (const std::string kept = keep_prepared(stage.data); !kept.empty()) log_detail(concat(stage.name, ": ", kept));
}

// `--profile-steps` beyond the end of a stage, or behind the step where it goes on, times nothing.
void warn_of_profile(std::span<PreparedStage* const> chosen, const RecipeOptions& options) {
  if (options.profile_first == 0) return;
  for (const PreparedStage* stage : chosen) {
    const std::uint64_t done = stage->state == StageState::kInterrupted ? stage->step : 0;
    if (options.profile_first <= stage->total_steps() && options.profile_last > done) continue;
    log_warning(Diagnostic("W0101", concat("`--profile-steps ", options.profile_first, ":", options.profile_last,
                                           "` times no step of stage ", stage->name))
                    .note(concat("this start trains steps ", done + 1, " to ", stage->total_steps()))
                    .help(concat("--profile-steps ", stage->total_steps(), ":", stage->total_steps())));
  }
}

// Steps that this start will train after stage `index`.
std::uint64_t later_steps(const std::vector<PreparedStage>& stages, const StageChoice& choice, std::size_t index) {
  std::uint64_t steps = 0;
  for (std::size_t i = index + 1; i < stages.size(); ++i)
    if (choice.contains(i) && stages[i].state != StageState::kDone) steps += stages[i].total_steps() - stages[i].step;
  return steps;
}

// By the run in its folder or the stage before it; nullopt: neither has been timed.
std::optional<double> expected_seconds(const std::vector<PreparedStage>& stages, std::size_t index) {
  const auto rate = seconds_per_token(std::span(stages).first(index + 1)).back();
  if (!rate) return std::nullopt;
  const double seconds = seconds_left(stages[index], *rate);
  log_info(concat("stage ", stages[index].name, ": ~", format_duration(seconds), " of training"));
  return seconds;
}

RecipeOutcome train_stages(const LoadedConfig& config, std::vector<PreparedStage>& stages, const StageChoice& choice,
                           const RecipeOptions& options) {
  // The recipe's own lock keeps a second program away from folders that do not exist yet.
  std::optional<RunLock> lock;
  if (config.is_recipe) lock = RunLock::take(run_folder_path(config.output_dir));
  OldRuns old_runs(stages, choice.from);
  std::optional<LoadedBase> base;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    PreparedStage& stage = stages[i];
    if (!choice.contains(i)) continue;
    if (stage.state == StageState::kDone) {
      log_info(concat("stage ", stage.name, " is done (", stage.step, " steps): skipped"));
      continue;
    }
    StageRunOptions stage_options =
        run_options(config, stages, stage, later_steps(stages, choice, i), expected_seconds(stages, i), options);
    stage_options.on_begin = [&stages] { keep_data(stages); };
    if (!run_stage(stage, base, old_runs, stage_options)) return RecipeOutcome::kStopped;
    if (config.is_recipe) update_report(run_folder_path(config.output_dir));
    const bool more = i + 1 < stages.size() && options.only.empty();
    if (more && stop_requested()) return RecipeOutcome::kStopped;
  }
  log_end(config, stages, command_for(config, {}));
  return RecipeOutcome::kDone;
}

}  // namespace

void check_inputs(const LoadedConfig& config, const RecipeOptions& options, Diagnostics& diagnostics) {
  check_stage_inputs(config, diagnostics);
  find_sources(config, diagnostics);
  if (!options.gpu_memory) check_devices(config, diagnostics);
}

RecipeOutcome run_recipe(const LoadedConfig& config, const RecipeOptions& options) {
  set_warnings_as_errors(is_strict(config));
  const bool trains = !options.check && !options.plan;
  std::vector<PreparedStage> stages = load_stages(config, options.gpu_memory.has_value());
  const StageChoice choice = choose_stages(stages, options);
  log_preparation(config, stages, trains);
  if (trains) check_choice(config, stages, choice, options);
  const std::vector<PreparedStage*> chosen = stages_to_plan(stages, choice, options.plan);
  if (!trains) {
    check_stages(stages, chosen, options);
    if (options.check) check_finished_base(stages, choice);
    return RecipeOutcome::kDone;
  }
  warn_of_profile(chosen, options);
  plan_device_memory(chosen, options);
  if (chosen.empty()) check_finished_base(stages, choice);
  return train_stages(config, stages, choice, options);
}

}  // namespace shori
