// The commands of shori-data, each in a source of its own. add_x_command() adds the subcommand with its options, help
// and example; the callback of the command that was called does the work.
#pragma once

#include <CLI/CLI.hpp>

namespace shori {

void add_check_command(CLI::App& app);
void add_stats_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_split_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_convert_command(CLI::App& app);

}  // namespace shori
