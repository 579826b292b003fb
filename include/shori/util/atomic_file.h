// A large file, written in several calls, that appears under its name complete and durable or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shori/util/file.h"
#include "shori/util/writeback.h"

namespace shori {

// Written as `.<name>.tmp` in the same folder. Two programs never write the same file: the second is refused. The next
// writer overwrites what a killed program left. E0513 if the folder cannot be written to, E0512 if a write fails; the
// temporary file is then removed.
class AtomicFile {
 public:
  // Reserves `bytes` bytes first, so that a full disk is noticed at once.
  AtomicFile(std::string folder, std::string name, std::uint64_t bytes);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  // fsync. What has been written can then be read again under the temporary name, before commit().
  void sync();
  std::string temporary_path() const { return join_path(folder_, temporary_); }
  // fsync, rename to the final name (replacing a file that has it), fsync of the folder.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::string folder_, name_, temporary_;
  FileDescriptor directory_, file_;
  Writeback writeback_;
  bool committed_ = false;
};

}  // namespace shori
