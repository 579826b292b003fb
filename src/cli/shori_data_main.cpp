// shori-data: writes, checks and converts role-play data.
#include <CLI/CLI.hpp>
#include <string>

#include "shori/util/build_info.h"
#include "shori/util/log.h"
#include "src/cli/data/commands.h"
#include "src/cli/program.h"

int main(int argc, char** argv) {
  using namespace shori;
  CLI::App app{"shori-data: role-play conversations as clean training data"};
  app.set_version_flag("--version", std::string("shori-data ") + version() + " (" + build_id() + ")");
  app.require_subcommand(1);
  bool json_errors = false;
  app.add_flag("--json-errors", json_errors, "errors and warnings as one JSON object a line");
  app.footer(
      "Example:  shori-data check configs/stage_high.yaml\n"
      "Each command shows its options and an example:  shori-data check --help\n"
      "Exit codes: 0 done, 1 internal, 2 usage or config, 3 data or tokenizer, 4 disk, 130/143 stopped");
  DataWork work;
  add_check_command(app, work);
  add_stats_command(app, work);
  add_inspect_command(app, work);
  add_split_command(app, work);
  add_import_command(app, work);
  add_convert_command(app, work);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run_program([&] {
    set_json_errors(json_errors);
    return work();
  });
}
