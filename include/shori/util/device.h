// Where numbers live.
#pragma once

#include <cstdint>

namespace shori {

enum class Device : std::uint8_t { kCpu, kCuda };

}  // namespace shori
