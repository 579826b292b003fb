// Results of CUDA calls as errors of the program.
#pragma once

namespace shori {

// Throws the Error that belongs to a cudaError_t, naming the call and its place: E0401-E0404 for what the machine
// lacks, E0701-E0704 for a device that failed.
[[noreturn]] void throw_cuda_error(int code, const char* call, const char* file, int line);

}  // namespace shori

#define SHORI_CUDA_CHECK(call)                                                         \
  do {                                                                                 \
    if (const cudaError_t result_ = (call); result_ != cudaSuccess)                    \
      ::shori::throw_cuda_error(static_cast<int>(result_), #call, __FILE__, __LINE__); \
  } while (false)
