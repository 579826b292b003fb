// shori-data check --fix: applies the fixes of lint rules to the files.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "src/cli/data/inputs.h"

namespace shori {

struct FixArguments {
  bool fix = false, in_place = false, dry_run = false;
  std::string out;
};
void add_fix_arguments(CLI::App& command, FixArguments& arguments);

// Fixes the files of the sets: into --out, in place, or (--dry-run) as a unified diff on stdout. A file is changed only
// where a rule with a fix fired. Nothing is written if a file cannot be read or parsed.
void fix_files(const std::vector<InputSet>& sets, const FixArguments& arguments);

}  // namespace shori
