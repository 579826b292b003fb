#include "tests/support/device_schedules.h"

namespace shori::testing {

int device_schedule_count() { return 1; }
void set_device_schedule(int) {}
int device_sum_rounding_count() { return 1; }
void set_device_sum_rounding(int) {}

}  // namespace shori::testing
