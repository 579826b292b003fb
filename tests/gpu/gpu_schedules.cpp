#include "tests/support/device_schedules.h"

namespace shori::testing {

int device_schedule_count() { return 1; }
void set_device_schedule(int) {}

}  // namespace shori::testing
