// shori-data split: cuts long conversations between their blocks.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_split_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("split", "cuts long conversations between their blocks");
  command->footer("Example:  shori-data split data/high --budget 8192 --out parts");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`split` is not in this build")); }; });
}

}  // namespace shori
