// Which models a GPU can run.
#pragma once

#include <string>
#include <vector>

#include "shori/io/mistral_config.h"

namespace shori {

// Why the kernels of a device cannot run this shape (ops/device_limits.h), one sentence each; empty if they can.
std::vector<std::string> device_shape_problems(const MistralConfig& config);

}  // namespace shori
