// Turns results of CUDA calls into errors of the program.
#pragma once

#include <string>

namespace shori {

// Throws the Error for a cudaError_t, with the call and its location: E0401-E0404 for what the machine lacks, E0701-E0704
// for a device that failed.
[[noreturn]] void throw_cuda_error(int code, const char* call, const char* file, int line);

// The error code for a cudaError_t. `device_listed`: whether the driver still reaches the GPU.
std::string cuda_error_code(int code, bool device_listed);

// The last line that the NVIDIA driver wrote to the system log ("NVRM: Xid ..."); empty if there is none or it cannot be
// read.
std::string last_xid();

}  // namespace shori

#define SHORI_CUDA_CHECK(call)                                                         \
  do {                                                                                 \
    if (const cudaError_t result_ = (call); result_ != cudaSuccess)                    \
      ::shori::throw_cuda_error(static_cast<int>(result_), #call, __FILE__, __LINE__); \
  } while (false)
