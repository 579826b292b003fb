// How a checker of memory accesses hears of the red zones of workspaces (RedZones in shori/ops/op_context.h).
#pragma once

#include <cstddef>

namespace shori {

// Says that nothing may touch these bytes, or that it may again. The emulated device of the tests sets it; else null.
inline void (*forbid_accesses)(const void* begin, std::size_t bytes, bool forbidden) = nullptr;

}  // namespace shori
