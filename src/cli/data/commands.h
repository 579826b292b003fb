// The commands of shori-data. Each lies in a source of its own, adds its subcommand with options, help and example, and
// sets `work` when it is the one that was called.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace shori {

using DataWork = std::function<int()>;  // returns the exit code

void add_check_command(CLI::App& app, DataWork& work);
void add_stats_command(CLI::App& app, DataWork& work);
void add_inspect_command(CLI::App& app, DataWork& work);
void add_split_command(CLI::App& app, DataWork& work);
void add_import_command(CLI::App& app, DataWork& work);
void add_convert_command(CLI::App& app, DataWork& work);

}  // namespace shori
