// Results of CUDA calls as errors of the program.
#pragma once

#include <string>

namespace shori {

// Throws the Error that belongs to a cudaError_t, naming the call and its place: E0401-E0404 for what the machine
// lacks, E0701-E0704 for a device that failed.
[[noreturn]] void throw_cuda_error(int code, const char* call, const char* file, int line);

// Code of the catalogue for a cudaError_t. `device_listed`: the driver still reaches the GPU.
std::string cuda_error_code(int code, bool device_listed);

// The last line of the kernel's log about this kind of card ("NVRM: Xid ..."); empty where there is none to be read.
std::string last_xid();

}  // namespace shori

#define SHORI_CUDA_CHECK(call)                                                         \
  do {                                                                                 \
    if (const cudaError_t result_ = (call); result_ != cudaSuccess)                    \
      ::shori::throw_cuda_error(static_cast<int>(result_), #call, __FILE__, __LINE__); \
  } while (false)
