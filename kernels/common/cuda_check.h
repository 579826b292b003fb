// Turns results of CUDA calls into errors of the program.
#pragma once

#include <string>

namespace shori {

// Throws the Error for a cudaError_t, with the call and its location: E0401-E0404 for what the machine lacks, E0701-E0704
// for a device that failed.
[[noreturn]] void throw_cuda_error(int code, const char* call, const char* file, int line);

// The same where `what` says what failed, "rms_norm_kernel<2>, grid 15 x 1 x 1, ...".
[[noreturn]] void throw_cuda_error(int code, const std::string& what);

// Whether SHORI_SYNC is in the environment and neither empty nor 0. Work on a GPU fails after its call has returned, and the
// error then shows at a later call, which may be any. With SHORI_SYNC=1 the program waits after each kernel and library
// call, so that the error names the one that failed.
bool waits_after_each_call();

// After a call that queued work: waits for it with SHORI_SYNC=1. `what` names the call in the error.
void finish_call(void* stream, const std::string& what);

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
