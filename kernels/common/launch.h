// What launch headers (kernels/<folder>/<op>_launch.h) share. A launcher takes raw device pointers, sizes and a stream,
// queues its kernels and returns; the op has checked the operands before. It is defined in <op>.cu, which a program links
// either as compiled by nvcc or as compiled for the CUDA emulator of the tests.
#pragma once

#include <cstdint>

#include "shori/util/bf16.h"

using cudaStream_t = struct CUstream_st*;

// Weak, so that a CPU build links without the kernels. Such a build never calls a launcher, because open_device() throws.
#define SHORI_LAUNCHER __attribute__((weak))
