// shori-data stats: conversations, messages, tokens and lengths in figures.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_stats_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("stats", "conversations, messages, tokens and lengths in figures");
  command->footer("Example:  shori-data stats data/high");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`stats` is not in this build")); }; });
}

}  // namespace shori
