// shori-data: writes, checks and converts role-play data.
#include "src/cli/data/commands.h"
#include "src/cli/program.h"

int main(int argc, char** argv) {
  using namespace shori;
  CLI::App app{"shori-data: role-play conversations as clean training data"};
  add_program_options(app, "shori-data");
  app.require_subcommand(1);
  app.footer(
      "Example:  shori-data check configs/stage_high.yaml\n"
      "Each command shows its options and an example:  shori-data check --help\n"
      "Exit codes: 0 done, 1 internal, 2 usage or config, 3 data or tokenizer, 4 disk, 130/143 stopped");
  add_check_command(app);
  add_stats_command(app);
  add_inspect_command(app);
  add_split_command(app);
  add_import_command(app);
  add_convert_command(app);
  return run_program(app, argc, argv);
}
