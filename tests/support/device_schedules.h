// Schedules: choices that hardware is free to make (the order of threads and blocks, when asynchronous copies arrive, what
// new memory holds). A GPU has one schedule, its own. The emulator has several, and a kernel must give the same bits under
// all of them.
#pragma once

namespace shori::testing {

int device_schedule_count();
void set_device_schedule(int index);

}  // namespace shori::testing
