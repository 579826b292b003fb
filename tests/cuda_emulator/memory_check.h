// Finds data races, reads of unwritten memory and accesses outside arrays in kernels, in the terms of compute-sanitizer's
// racecheck, initcheck and memcheck.
//
// A kernel compiled with -fsanitize=thread calls __tsan_readN or __tsan_writeN before every access. The program is linked
// without libtsan, and memory_check.cpp defines these functions. For each byte of shared memory and of the watched buffers
// they record the last writer and the last two readers. Two accesses by different threads, at least one of them a write,
// are a race unless a __syncthreads lies between them, or a __syncwarp if both threads are in one warp. Shuffles, ldmatrix
// and mma order nothing, as on a GPU. Atomics are not recorded. An access outside an array is found if it crosses the array's
// end, or touches bytes that are forbidden: the guards of an allocation and the red zones of a workspace. Without kernels
// compiled that way, nothing is checked.
#pragma once

#include <cstddef>

namespace shori::emulator {

// The emulator calls these.
void check_arena(const void* begin, std::size_t bytes);
void check_fresh(const void* begin, std::size_t bytes);  // the contents are undefined from now on
void check_launch();
void check_block_start();
void check_barrier();
void check_warp_barrier(int thread);
int current_thread();  // number in the block; -1 on the host

}  // namespace shori::emulator
