// How many threads the program uses where the config names no number.
#pragma once

namespace shori {

// CPU cores this process may run on: its affinity mask (taskset, a container's cpuset), at least 1.
int usable_cores();

}  // namespace shori
