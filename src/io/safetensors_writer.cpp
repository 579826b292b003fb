#include "shori/io/safetensors_writer.h"

#include <fcntl.h>

#include <cerrno>

#include "shori/util/error.h"

namespace shori {

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::span<const NamedArray> arrays,
                                     const std::vector<std::pair<std::string, std::string>>& metadata)
    : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644)) {
  if (!file_.valid()) throw IoFailure{"open", errno};
  for (const NamedArray& array : arrays) missing_bytes_ += array.bytes();
  const std::string header = make_safetensors_header(arrays, metadata);
  write(header.data(), header.size());
}

void SafetensorsWriter::append(const void* data, std::size_t bytes) {
  SHORI_CHECK(bytes <= missing_bytes_, "more bytes than the header of a safetensors file promises");
  write(data, bytes);
  missing_bytes_ -= bytes;
}

void SafetensorsWriter::finish() {
  SHORI_CHECK(missing_bytes_ == 0, "fewer bytes than the header of a safetensors file promises");
  if (const IoResult result = sync_file(file_.get()); result.error) throw IoFailure{"fsync", result.error};
  if (const int error = file_.close()) throw IoFailure{"close", error};
}

void SafetensorsWriter::write(const void* data, std::size_t bytes) {
  if (const IoResult result = write_all(file_.get(), data, bytes); result.error) throw IoFailure{"write", result.error};
  writeback_.wrote(file_.get(), bytes);
}

}  // namespace shori
