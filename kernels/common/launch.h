// What launch headers (kernels/<op>_launch.h) share. A launcher takes raw device pointers, sizes and a stream, queues
// its kernels and returns; operands are checked by the op before. It is defined in <op>.cu, which a program with a
// device links either as nvcc compiled it or as the CUDA emulator of the tests did.
#pragma once

#include <cstdint>

#include "shori/util/bf16.h"

using cudaStream_t = struct CUstream_st*;

// Weak, so that a CPU build links without the kernels. It never calls one: open_device() refuses there.
#define SHORI_LAUNCHER __attribute__((weak))
