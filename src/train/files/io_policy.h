// What happens when writing the state of a run fails: a full disk pauses, other errors get three tries with a new file.
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
  std::uint64_t bytes = 0;  // how much disk space it needs
  std::string safe;  // what is not lost: "step 117 is safe"
};

// Runs `attempt` until it succeeds; after a failure `discard` drops what it left behind. Out of space: E0502 is told,
// then it waits 10 s doubling to 60 s and tries again, for as long as it takes; a stop while waiting throws E0502.
// Anything else: E0512 after three failures.
void run_io_task(const IoTask& task, const std::function<void()>& attempt, const std::function<void()>& discard);

}  // namespace shori
