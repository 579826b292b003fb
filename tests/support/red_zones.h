// Included by a test program's cases, it turns on the red zones of workspaces in host memory. Programs with the emulated device
// have them on both sides (device_emulated.cpp).
#pragma once

#include "shori/ops/op_context.h"

namespace shori {

inline const bool red_zones_on = RedZones::on_host = true;

}  // namespace shori
