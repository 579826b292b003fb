// shori-data check: every problem of the data, with its place and cure.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_check_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("check", "every problem of the data, with its place and cure");
  command->footer("Example:  shori-data check data/high");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`check` is not in this build")); }; });
}

}  // namespace shori
