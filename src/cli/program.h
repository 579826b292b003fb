// What every program does around its work: common options, usage errors, signals, catching errors, exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace shori {

inline constexpr int kExitUsage = 2;
inline constexpr int kExitData = 3;
inline constexpr int kExitDisk = 4;
inline constexpr int kExitStopped = 75;

// --version and --json-errors.
void add_program_options(CLI::App& app, const std::string& name);

// Parses the command line; the callbacks of `app` and of its commands do the work, and end the program with another exit
// code than 0 by throwing CLI::RuntimeError. Prints whatever else they throw (once, in full) and returns the exit code:
// 0 done, 1 internal, 2 usage or config, 3 model or data, 4 disk, 5 device, 6 numeric, 7 run folder busy, 75 stopped
// with the state saved, 130 / 143 stopped at once. The message about a misspelt command or option names the nearest one.
// Output that stdout did not take is E0512 in place of 0, unless its reader has gone (`| head`).
int run_program(CLI::App& app, const std::string& called_as, const std::vector<std::string>& arguments);
int run_program(CLI::App& app, int argc, char** argv);

}  // namespace shori
