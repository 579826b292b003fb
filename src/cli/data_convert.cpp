// shori-data convert: between .blockml, JSONL and YAML, without loss.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_convert_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("convert", "between .blockml, JSONL and YAML, without loss");
  command->footer("Example:  shori-data convert data/high --to yaml --out yaml");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`convert` is not in this build")); }; });
}

}  // namespace shori
