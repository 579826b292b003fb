#include "src/train/files/io_policy.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr int kTries = 3;

void pause(const IoTask& task, const IoFailure& failure, double seconds) {
  Diagnostic diagnostic("E0502", concat("no room for ", task.what, ": ", format_bytes(task.bytes),
                                        " needed on the disk of ", task.folder));
  diagnostic.note(concat(failure.call, ": ", error_text(failure.error)));
  if (!task.safe.empty()) diagnostic.note(task.safe);
  diagnostic.help("free some space and the program continues, or stop it with Ctrl-C");
  log_error(diagnostic);
  for (const double end = now_seconds() + seconds; now_seconds() < end;) {
    if (stop_requested()) throw Error(diagnostic.note("stopped while waiting for space"));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

bool is_out_of_space(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

void run_io_task(const IoTask& task, const std::function<void()>& attempt, const std::function<void()>& discard) {
  double wait = 10;
  for (int failures = 0;;) {
    try {
      return attempt();
    } catch (const IoFailure& failure) {
      discard();
      if (is_out_of_space(failure.error)) {
        pause(task, failure, wait);
        wait = std::min(60.0, wait * 2);
      } else if (++failures == kTries) {
        throw Error(Diagnostic("E0512", concat("writing ", task.what, " failed: ", failure.call, ": ",
                                               error_text(failure.error), " (", kTries, " tries)"))
                        .at(task.folder)
                        .note(task.safe)
                        .help("check the disk"));
      }
    }
  }
}

}  // namespace shori
