#include "src/train/stage/stage_choice.h"

#include <algorithm>

#include "shori/util/command.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/stage/start_adapter.h"

namespace shori {
namespace {

std::size_t index_of_stage(const std::vector<PreparedStage>& stages, const std::string& name, const char* option) {
  std::vector<std::string> names;
  std::string list;
  for (const PreparedStage& stage : stages) {
    names.push_back(stage.name);
    list += (list.empty() ? "" : " ") + stage.name;
  }
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  Diagnostic diagnostic("E0117", concat("`", option, " ", escape_for_log(name), "`: no such stage"));
  diagnostic.note("stages: " + list);
  const std::string similar = find_similar_name(name, names);
  if (!similar.empty()) diagnostic.help(concat("a stage with a similar name exists: `", similar, "`"));
  throw Error(diagnostic);
}

std::vector<std::string> only_words(const RecipeOptions& options) {
  return options.only.empty() ? std::vector<std::string>() : std::vector<std::string>{"--only", options.only};
}

// What a run left behind that can neither be resumed nor be distinguished from another run's: without checkpoint and done.json
// nobody can say which run these are of. A new run would replace adapter/ when it ends, and pinned checkpoints when it
// reaches their steps. Empty: nothing.
std::string remains_of(const PreparedStage& stage) {
  const RunFolder& folder = stage.folder;
  for (const std::string& remains : {folder.adapter(), folder.pinned(), folder.requested(), folder.damaged()})
    if (path_exists(remains)) return remains;
  return "";
}

void check_resume(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const RecipeOptions& options) {
  const auto has_run = [](const PreparedStage& stage) { return stage.state != StageState::kToTrain; };
  if (std::ranges::any_of(stages, has_run)) return;
  const auto has_remains = [](const PreparedStage& stage) { return !remains_of(stage).empty(); };
  const auto left = std::ranges::find_if(stages, has_remains);
  const PreparedStage& stage = left == stages.end() ? stages.front() : *left;
  throw Error(Diagnostic("E0506", concat("`", stage.folder.path(), "` has no usable checkpoint"))
                  .help(left == stages.end() ? concat("begin the run: ", command_for(config, only_words(options)))
                                             : help_to_retrain(config, stage)));
}

// All stages after a changed one count as changed as well. So the first one is reported, whichever was chosen, and the
// proposed command begins there: one that begins later would be refused.
[[noreturn]] void refuse_changed(const LoadedConfig& config, const std::vector<PreparedStage>& stages,
                                 const PreparedStage& stage) {
  const auto first = std::ranges::find(stages, StageState::kChanged, &PreparedStage::state);
  std::vector<Diagnostic> diagnostics = first->changes;
  if (&*first != &stage) {
    diagnostics.front().note(concat("stage ", stage.name, " depends on stage ", first->name));
    diagnostics.insert(diagnostics.end(), stage.changes.begin(), stage.changes.end());
  }
  const bool interrupted =
      std::any_of(stages.begin(), first, [](const PreparedStage& s) { return s.state == StageState::kInterrupted; });
  std::vector<std::string> from = {"--from", first->name};
  if (interrupted) from.emplace_back("--resume");
  if (config.is_recipe) diagnostics.back().help(concat("retrain from there on: ", command_for(config, from)));
  throw Error(diagnostics);
}

[[noreturn]] void refuse_interrupted(const LoadedConfig& config, const PreparedStage& stage,
                                     const RecipeOptions& options) {
  throw Error(Diagnostic("E0507", concat("`", stage.folder.path(), "` already holds a run (step ", stage.step, " of ",
                                         stage.total_steps(), ")"))
                  .help(concat("resume it: ", resume_command_for(config, options)))
                  .help("or choose another `output_dir`"));
}

// The adapter that the first stage of this start begins from. `--only` may have left out the stage that makes it.
void check_start(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const PreparedStage& stage) {
  const std::string source = source_of(stages, stage);
  if (source.empty()) return;
  try {
    check_start_adapter(stage.config, source, stage.base.get());
  } catch (const Error& error) {
    const PreparedStage* missing = &stage;
    while (missing->previous_stage >= 0 &&
           stages[static_cast<std::size_t>(missing->previous_stage)].state != StageState::kDone)
      missing = &stages[static_cast<std::size_t>(missing->previous_stage)];
    if (missing == &stage) throw;
    std::vector<Diagnostic> problems = error.diagnostics();
    std::vector<std::string> words = {"--only", missing->name};
    if (missing->state == StageState::kInterrupted) words.emplace_back("--resume");
    problems.front().helps = {concat("train ", missing->name, " first: ", command_for(config, words))};
    throw Error(problems);
  }
}

void refuse_remains(const LoadedConfig& config, const PreparedStage& stage) {
  const std::string remains = remains_of(stage);
  if (remains.empty()) return;
  throw Error(Diagnostic("E0507", concat("`", stage.folder.path(),
                                         "` contains leftovers of a run, but none that can be resumed"))
                  .note("there is " + remains)
                  .help(help_to_retrain(config, stage))
                  .help("or choose another `output_dir`"));
}

}  // namespace

StageChoice choose_stages(const std::vector<PreparedStage>& stages, const RecipeOptions& options) {
  StageChoice choice{stages.size(), stages.size(), stages.size()};
  if (!options.from.empty()) choice.from = index_of_stage(stages, options.from, "--from");
  if (!options.only.empty()) choice.only = index_of_stage(stages, options.only, "--only");
  return choice;
}

std::string source_of(const std::vector<PreparedStage>& stages, const PreparedStage& stage) {
  return stage.previous_stage >= 0 ? stages[static_cast<std::size_t>(stage.previous_stage)].folder.path()
                                   : stage.config.init_from;
}

std::string command_for(const LoadedConfig& config, const std::vector<std::string>& options) {
  std::vector<std::string> words = {config.file};
  for (const std::string& override : config.overrides) words.insert(words.end(), {"--set", override});
  words.insert(words.end(), options.begin(), options.end());
  return concat(program_command("shori-train"), " ", shell_words(words));
}

std::string help_to_retrain(const LoadedConfig& config, const PreparedStage& stage) {
  return concat("train the stage again, which moves its folder aside: ", command_for(config, {"--from", stage.name}));
}

std::string resume_command_for(const LoadedConfig& config, const RecipeOptions& options) {
  std::vector<std::string> words = only_words(options);
  words.emplace_back("--resume");
  return command_for(config, words);
}

void check_choice(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const StageChoice& choice,
                  const RecipeOptions& options) {
  if (options.resume) check_resume(config, stages, options);
  bool is_first = true;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const PreparedStage& stage = stages[i];
    const StageState state = choice.retrains(i) ? StageState::kToTrain : stage.state;
    if (!choice.contains(i) || state == StageState::kDone) continue;
    if (state == StageState::kChanged) refuse_changed(config, stages, stage);
    if (state == StageState::kInterrupted && !options.resume) refuse_interrupted(config, stage, options);
    if (state == StageState::kToTrain && !choice.retrains(i)) refuse_remains(config, stage);
    // Later stages begin from what this one will have trained.
    if (state == StageState::kToTrain && is_first) check_start(config, stages, stage);
    is_first = false;
  }
}

}  // namespace shori
