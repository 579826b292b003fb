// What every program does around its work: signals, catching errors, exit codes.
#pragma once

#include <functional>

namespace shori {

// Runs `work`, prints whatever it throws (once, in full) and returns the exit code: 0 done, 1 internal, 2 usage or
// config, 3 model or data, 4 disk, 5 device, 6 numeric, 7 run folder busy, 75 stopped with the state saved, 130 / 143
// stopped at once.
int run_program(const std::function<int()>& work);

inline constexpr int kExitData = 3;
inline constexpr int kExitStopped = 75;

}  // namespace shori
