// Writes one safetensors file as a stream: nothing is held in memory but what one call brings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/util/file.h"
#include "shori/util/writeback.h"

namespace shori {

// Every failing system call throws IoFailure: the caller knows whether to try again and what to report.
class SafetensorsWriter {
 public:
  // Creates `path`, which must not exist, and writes make_safetensors_header(). `data` of the arrays is not used.
  SafetensorsWriter(const std::string& path, std::span<const NamedArray> arrays,
                    const std::vector<std::pair<std::string, std::string>>& metadata);

  // The next bytes of the arrays, in their order.
  void append(const void* data, std::size_t bytes);
  // After the last byte: the file is durable and closed when this returns.
  void finish();

 private:
  void write(const void* data, std::size_t bytes);

  FileDescriptor file_;
  Writeback writeback_;
  std::uint64_t missing_bytes_ = 0;
};

}  // namespace shori
