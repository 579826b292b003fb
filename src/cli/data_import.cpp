// shori-data import: LimaRP, ShareGPT, chat and SillyTavern files as conversations.
#include "shori/util/error.h"
#include "src/cli/data_commands.h"

namespace shori {

void add_import_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("import", "LimaRP, ShareGPT, chat and SillyTavern files as conversations");
  command->footer("Example:  shori-data import chat.jsonl --from sillytavern --out data/mine");
  command->callback(
      [&work] { work = []() -> int { throw Error(Diagnostic("E0113", "`import` is not in this build")); }; });
}

}  // namespace shori
