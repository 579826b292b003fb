// shori-data inspect: tokens, regions and labels of one sample.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_inspect_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("inspect", "tokens, regions and labels of one sample");
  command->footer("Example:  shori-data inspect data/high/shrine.blockml");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`inspect` is not in this build")); }; });
}

}  // namespace shori
