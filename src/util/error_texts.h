// The rows of the table of codes, by where the cause lies. Each file ascending.
#pragma once

#include <span>

#include "shori/util/error.h"

namespace shori {

std::span<const ErrorInfo> input_error_texts();  // E00 internal, E01 config, E02 model, E03 data
std::span<const ErrorInfo>
run_error_texts();  // E04 device and plan, E05 run folder, E06 numeric, E07 hardware, E08 export
std::span<const ErrorInfo> warning_texts();

}  // namespace shori
