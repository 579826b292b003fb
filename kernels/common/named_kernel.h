// A kernel with the name that an error shows. launch() takes it from SHORI_KERNEL:
//
//   launch(SHORI_KERNEL(rms_norm_kernel<2>), grid, block, dynamic_shared_bytes, stream, args...)
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "shori/util/text.h"

namespace shori {

struct KernelName {
  const char* text = "";  // as the source has it, "lora_grad_kernel<kShared, kTiles>"
  const char* file = "";
  int line = 0;
};

template <class... Params>
struct NamedKernel {
  void (*function)(Params...);
  KernelName name;

  NamedKernel(void (*kernel)(Params...), const char* text, const char* file, int line)
      : function(kernel), name{text, file, line} {}
};

#define SHORI_KERNEL(...) ::shori::NamedKernel(__VA_ARGS__, #__VA_ARGS__, __FILE__, __LINE__)

// "rms_norm_kernel<2>, grid 15 x 1 x 1, block 256 x 1 x 1, 0 bytes of dynamic shared memory, rms_norm.cu:52". `Extent`: dim3 of
// CUDA or of the emulator.
template <class Extent>
std::string launch_text(const KernelName& name, const Extent& grid, const Extent& block,
                        std::size_t dynamic_shared_bytes) {
  const std::string_view file = name.file;
  return concat(name.text, ", grid ", grid.x, " x ", grid.y, " x ", grid.z, ", block ", block.x, " x ", block.y, " x ",
                block.z, ", ", dynamic_shared_bytes, " bytes of dynamic shared memory, ",
                file.substr(file.rfind('/') + 1), ":", name.line);
}

}  // namespace shori
