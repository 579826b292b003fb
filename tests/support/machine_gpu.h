// Whether this machine has a GPU that programs should be able to use, whatever the state of its driver.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace shori::testing {

// SHORI_EXPECT_GPU=1 says so; else the driver's device file does, unless CUDA_VISIBLE_DEVICES hides every GPU.
inline bool machine_has_gpu() {
  if (const char* expected = std::getenv("SHORI_EXPECT_GPU")) return std::string_view(expected) == "1";
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr && (std::string_view(visible) == "" || std::string_view(visible) == "-1")) return false;
  return std::filesystem::exists("/dev/nvidia0") || std::filesystem::exists("/dev/dxg");
}

}  // namespace shori::testing
