// Streams that reach the disk while they are written.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

// What is written in a stream goes on its way to the disk soon, so that the fsync at the end has little left to do.
class Writeback {
 public:
  // `bytes` more bytes were appended to `fd`. An error of the disk is left for the fsync to report.
  void wrote(int fd, std::size_t bytes);

 private:
  std::uint64_t written_ = 0, started_ = 0;
};

}  // namespace shori
