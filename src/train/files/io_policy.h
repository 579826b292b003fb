// What the program does when it cannot write the state of a run: a full disk pauses it, other errors get three tries.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "shori/util/file.h"

namespace shori {

bool is_out_of_space(int error);  // ENOSPC, EDQUOT, EFBIG

struct IoTask {
  std::string what;  // "step-000118.safetensors"
  std::string folder;
  std::uint64_t bytes = 0;  // disk space it needs
  std::string safe;         // what is not lost: "step 117 is safe"; empty: nothing to say
};

// Runs `attempt` until it succeeds. After each IoFailure `discard` removes what the attempt left. If the disk is full,
// this is reported as E0502 and tried again after 10 s, then after twice the time before up to 60 s, without end; a stop
// while waiting throws E0502. Any other failure throws E0512 the third time.
void run_io_task(const IoTask& task, const std::function<void()>& attempt, const std::function<void()>& discard);

}  // namespace shori
