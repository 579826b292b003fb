// The rows of the table of codes, ascending in each function. `--explain` prints the explanations as they are, so their
// lines are at most 100 columns long.
#pragma once

#include <span>

#include "shori/util/error.h"

namespace shori {

// E00 internal, E01 config, E02 model folder, E03 training text.
std::span<const ErrorInfo> input_error_texts();
// E04 device and plan, E05 run folder, E06 numeric, E07 hardware, E08 export.
std::span<const ErrorInfo> run_error_texts();
std::span<const ErrorInfo> warning_texts();

}  // namespace shori
