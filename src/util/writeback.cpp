#include "shori/util/writeback.h"

#include <fcntl.h>

namespace shori {

void Writeback::wrote(int fd, std::size_t bytes) {
  constexpr std::uint64_t kAtOnce = 8u << 20;
  written_ += bytes;
  if (written_ - started_ < kAtOnce) return;
  // Without the flags that wait: those would take the error that fsync has to report.
  (void)sync_file_range(fd, static_cast<off_t>(started_), static_cast<off_t>(written_ - started_),
                        SYNC_FILE_RANGE_WRITE);
  started_ = written_;
}

}  // namespace shori
