// A large file, written piece by piece, that appears under its name complete and durable or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shori/util/file.h"

namespace shori {

// Written as `.<name>.tmp` in the same folder. Two programs never write the same file: the second is refused. What a
// killed program leaves is written over by the next. E0513 where the folder cannot be written, E0512 where a write
// fails; the temporary file is then gone.
class AtomicFile {
 public:
  // Sets `bytes` bytes aside first, so that a full disk shows at once.
  AtomicFile(std::string folder, std::string name, std::uint64_t bytes);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  // fsync, rename over what has the name, fsync of the folder.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::string folder_, name_, temporary_;
  FileDescriptor directory_, file_;
  bool committed_ = false;
};

}  // namespace shori
