// What hardware may choose freely (order of threads and blocks, when copies land, what fresh memory holds), as a
// number. A GPU has one schedule, its own; the emulator has several, and a kernel's results must be equal under all.
#pragma once

namespace shori::testing {

int device_schedule_count();
void set_device_schedule(int index);

}  // namespace shori::testing
