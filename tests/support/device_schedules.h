// Schedules: choices that hardware is free to make (the order of threads and blocks, when asynchronous copies arrive, what
// new memory holds). A GPU has one schedule, its own. The emulator has several, and a kernel must give the same bits under
// all of them.
#pragma once

namespace shori::testing {

int device_schedule_count();
void set_device_schedule(int index);

// Ways in which tensor cores may round fp16 sums. A GPU has one, the emulator two (to nearest, towards zero): results differ,
// and the bounds of a test hold for each.
int device_sum_rounding_count();
void set_device_sum_rounding(int index);

}  // namespace shori::testing
