#include "shori/util/threads.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace shori {

int usable_cores() {
  cpu_set_t cores;
  // Fails on machines with more cores than the mask holds.
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace shori
