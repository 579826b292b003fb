// shori-train: trains a QLoRA adapter from one YAML file.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <vector>

#include "shori/config/config_text.h"
#include "shori/config/load_config.h"
#include "shori/ops/cpu_isa.h"
#include "shori/train/recipe.h"
#include "shori/train/report.h"
#include "shori/train/run_status.h"
#include "shori/util/byte_size.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/path_option.h"
#include "src/cli/program.h"

namespace shori {
namespace {

constexpr std::string_view kColorWords[] = {"auto", "always", "never"};  // in the order of ColorChoice

struct Arguments {
  std::string config, explain, gpu_memory, profile_steps, status;
  std::vector<std::string> report;  // a run or recipe, and another to compare it with
  bool open = false;
  std::string help_keys;  // what follows `--help-keys=`; "true" without `=`; empty without the option
  std::vector<std::string> set;
  RecipeOptions recipe;
};

void add_options(CLI::App& app, Arguments& arguments) {
  as_path(app.add_option("CONFIG", arguments.config, "the YAML file: one stage, or a recipe of stages"));
  app.add_flag("--resume", arguments.recipe.resume,
               "continue an interrupted run; it ends with the same bytes as one that was not interrupted");
  app.add_flag("--check", arguments.recipe.check,
               "check config, base, data and device, and report every problem; writes nothing, trains nothing");
  app.add_flag("--plan", arguments.recipe.plan,
               "show stages, packs, steps and the memory of the device; trains nothing");
  app.add_option("--gpu-memory", arguments.gpu_memory,
                 "with --plan: a GPU that is not in this machine, its memory such as 24GiB")
      ->type_name("BYTES");
  app.add_option("--sm-count", arguments.recipe.sm_count, "with --gpu-memory: its multiprocessors (82: RTX 3090)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--set", arguments.set,
                 "replace keys of the file: --set learning_rate=5e-5 num_epochs=3; of one stage of a recipe: --set "
                 "high.learning_rate=5e-5")
      ->type_name("KEY=VALUE ...")
      ->allow_extra_args(false);
  app.add_option("--from", arguments.recipe.from,
                 "retrain a recipe from this stage on; old run folders are moved aside")
      ->type_name("STAGE");
  app.add_option("--only", arguments.recipe.only, "train only this stage of a recipe")->type_name("STAGE");
  app.add_option("--profile-steps", arguments.profile_steps,
                 "time every op of steps A to B; the last of them is kept in profile.json of the run folder")
      ->type_name("A:B");
  as_path(app.add_option("--status", arguments.status,
                         "where the run in this folder (or each stage of a recipe's) stands; also while it runs"))
      ->type_name("RUN");
  as_path(app.add_option(
              "--report", arguments.report,
              "write report.html and loss.svg of a run or recipe folder again; of two: one page that compares them"))
      ->type_name("RUN [RUN_B]")
      ->expected(1, 2);
  app.add_flag("--open", arguments.open, "with --report: open the page in the browser");
  app.add_flag_callback(
      "--quiet", [] { set_verbosity(Verbosity::kQuiet); }, "show errors, warnings and one line a stage");
  app.add_flag_callback(
      "--verbose", [] { set_verbosity(Verbosity::kVerbose); },
      "show on a terminal all that train.log has; with --check and --plan every key of every stage as well");
  add_word_option(app, "--color", kColorWords, "colors (default: auto, on a terminal without NO_COLOR)",
                  [](std::size_t index) { set_color_choice(static_cast<ColorChoice>(index)); });
  app.add_flag("--help-keys", arguments.help_keys,
               "every key of the YAML file with default and meaning; --help-keys=markdown: as a table");
  app.add_option("--explain", arguments.explain, "what an error code means and how to fix it")->type_name("CODE");
  app.footer(
      "Example:  shori-train configs/stage_high.yaml\n"
      "Exit codes: 0 done, 1 internal, 2 usage or config, 3 model or data, 4 disk, 5 device, 6 numeric, 7 run folder "
      "busy,\n"
      "            75 stopped by a signal with the state saved, 130/143 stopped at once");
}

int explain(const std::string& code) {
  std::string upper = code;
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  const ErrorInfo* info = find_error_info(upper);
  if (!info) {
    std::vector<std::string_view> codes;
    for (const ErrorInfo& row : error_table()) codes.push_back(row.code);
    Diagnostic diagnostic("E0117", concat("`--explain ", escape_for_log(code), "`: no such code"));
    const std::string similar = find_similar_name(upper, codes);
    if (!similar.empty()) diagnostic.help(concat(program_command("shori-train"), " --explain ", similar));
    throw Error(diagnostic);
  }
  std::printf("%.*s: %.*s (exit %d)\n\n%.*s\n", static_cast<int>(info->code.size()), info->code.data(),
              static_cast<int>(info->title.size()), info->title.data(), info->exit_code,
              static_cast<int>(info->explanation.size()), info->explanation.data());
  return 0;
}

// "3:5" as steps 3 to 5.
void read_profile_steps(const std::string& text, RecipeOptions& options) {
  const char *at = text.data(), *end = text.data() + text.size();
  const auto first = std::from_chars(at, end, options.profile_first);
  const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
  const auto last = colon ? std::from_chars(first.ptr + 1, end, options.profile_last) : first;
  if (colon && last.ec == std::errc() && last.ptr == end && options.profile_first > 0 &&
      options.profile_last >= options.profile_first)
    return;
  throw Error(
      Diagnostic("E0116", concat("`--profile-steps ", escape_for_log(text), "` is not a range of two steps, A:B"))
          .help("--profile-steps 3:5"));
}

// --gpu-memory and --sm-count describe one GPU, for --plan.
RecipeOptions recipe_options(const Arguments& arguments) {
  RecipeOptions options = arguments.recipe;
  if (!arguments.profile_steps.empty()) read_profile_steps(arguments.profile_steps, options);
  if (arguments.gpu_memory.empty() && options.sm_count == 0) return options;
  if (arguments.gpu_memory.empty() || options.sm_count == 0 || !options.plan)
    throw Error(Diagnostic("E0116", "`--gpu-memory` and `--sm-count` go together, and with `--plan`")
                    .help("an RTX 3090: --plan --gpu-memory 24GiB --sm-count 82"));
  options.gpu_memory = parse_byte_size(arguments.gpu_memory);
  if (!options.gpu_memory)
    throw Error(Diagnostic("E0116", concat("`--gpu-memory ", escape_for_log(arguments.gpu_memory),
                                           "` is not an amount of memory"))
                    .help("--gpu-memory 24GiB"));
  return options;
}

int print_text(const std::string& text) {
  std::fputs(text.c_str(), stdout);  // run_program() sees what stdout does not take
  return 0;
}

int print_keys(const std::string& format) {
  const bool text = format == "true" || format == "text";
  if (!text && format != "markdown") refuse_word("--help-keys=" + format, word_list("text", "markdown"));
  return print_text(text ? help_keys_text() : help_keys_markdown());
}

// Whether a program of the desktop was found that shows the file.
bool open_in_browser(const std::string& path) {
  const char* arguments[] = {"xdg-open", path.c_str(), nullptr};
  pid_t process = 0;
  int status = 0;
  if (posix_spawnp(&process, arguments[0], nullptr, nullptr, const_cast<char* const*>(arguments), environ) != 0)
    return false;
  return waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int report(const Arguments& arguments) {
  const std::vector<std::string>& runs = arguments.report;
  const std::vector<std::string> paths = runs.size() == 1 ? write_report(runs[0]) : write_comparison(runs[0], runs[1]);
  for (const std::string& path : paths) std::printf("%s\n", path.c_str());
  if (arguments.open && !open_in_browser(absolute_path(paths.front())))
    log_info("no browser could be started (xdg-open); open the file above in one");
  return 0;
}

// Every mistake in one start: those of bases, data and device as well where the config has some of its own.
LoadedConfig open_config(const Arguments& arguments, const RecipeOptions& options) {
  Diagnostics diagnostics;
  LoadedConfig config = load_config(arguments.config, arguments.set, diagnostics);
  find_base_models(config, diagnostics);
  if (diagnostics.has_errors()) check_inputs(config, options, diagnostics);
  diagnostics.throw_if_errors();
  return config;
}

int train(const Arguments& arguments) {
  if (arguments.config.empty())
    throw Error(Diagnostic("E0116", "no config file given")
                    .help(concat("name one: ", program_command("shori-train"), " configs/stage_high.yaml"))
                    .help(concat("all options: ", program_command("shori-train"), " --help")));
  if (!arguments.recipe.from.empty() && !arguments.recipe.only.empty())
    throw Error(Diagnostic("E0116", "`--from` and `--only` do not go together").help("give one of them"));
  const RecipeOptions options = recipe_options(arguments);
  cpu_isa();  // refuses a wrong SHORI_CPU_ISA, and asks for the tile registers while there is one thread
  const LoadedConfig config = open_config(arguments, options);
  return run_recipe(config, options) == RecipeOutcome::kDone ? 0 : kExitStopped;
}

// The last line of --check.
void log_verdict(std::size_t errors, std::size_t warnings) {
  if (writes_json_errors()) return;
  std::string text = errors == 0 ? "no problems" : counted(errors, "error");
  if (warnings > 0) text += concat(errors == 0 ? " but " : ", ", counted(warnings, "warning"), " (above)");
  log_info(text);
}

int check(const Arguments& arguments) {
  if (writes_json_errors()) set_verbosity(Verbosity::kQuiet);  // so that stderr has only objects
  try {
    const int code = train(arguments);
    log_verdict(0, warning_count());
    return code;
  } catch (const Error& error) {
    const auto is_error = [](const Diagnostic& each) { return each.severity == Severity::kError; };
    const auto errors = static_cast<std::size_t>(std::ranges::count_if(error.diagnostics(), is_error));
    for (const Diagnostic& diagnostic : error.diagnostics()) log_error(diagnostic);
    log_verdict(errors, warning_count() + error.diagnostics().size() - errors);
    return error.exit_code();
  }
}

void run(const Arguments& arguments) {
  const int code = !arguments.help_keys.empty() ? print_keys(arguments.help_keys)
                   : !arguments.explain.empty() ? explain(arguments.explain)
                   : !arguments.status.empty()  ? print_text(status_text(arguments.status))
                   : !arguments.report.empty()  ? report(arguments)
                   : arguments.recipe.check     ? check(arguments)
                                                : train(arguments);
  if (code != 0) throw CLI::RuntimeError(code);
}

// `key=value`, and not a file of that name.
bool is_pair(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- ";
  const bool names_key = equals != std::string::npos && equals > 0 && text.find_first_not_of(letters) == equals;
  return names_key && text.front() != '-' && !path_exists(text);
}

// `--set a=1 b=2` as `--set a=1 --set b=2`: the parser would take b=2 for the config.
std::vector<std::string> with_one_pair_each(int argc, char** argv) {
  std::vector<std::string> arguments;
  bool after_set = false, after_pair = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (after_pair && is_pair(argument)) {
      arguments.emplace_back("--set");
      after_set = true;
    }
    after_pair = after_set || argument.starts_with("--set=");
    after_set = argument == "--set";
    arguments.push_back(argument);
  }
  return arguments;
}

}  // namespace
}  // namespace shori

int main(int argc, char** argv) {
  CLI::App app{"shori-train: QLoRA training of Mistral-type models from one YAML file"};
  shori::Arguments arguments;
  shori::add_program_options(app, "shori-train");
  shori::add_options(app, arguments);
  app.callback([&arguments] { shori::run(arguments); });
  return shori::run_program(app, argv[0], shori::with_one_pair_each(argc, argv));
}
