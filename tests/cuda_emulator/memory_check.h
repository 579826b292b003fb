// Finds data races and reads of unwritten memory in kernels, with the words of compute-sanitizer's racecheck and
// initcheck.
//
// A kernel compiled with -fsanitize=thread calls __tsan_readN / __tsan_writeN before every access. Here those functions
// are ours (the program is linked without libtsan): they keep, for each byte of shared memory and of the watched
// buffers, the last writer and the last two readers. Two accesses of different threads, one of them a write, are
// ordered only by a
// __syncthreads between them, or by a __syncwarp within one warp. Shuffles, ldmatrix and mma order nothing, as on the
// device. Atomics are not recorded. Does nothing when no kernel was compiled that way.
#pragma once

#include <cstddef>

namespace shori::emulator {

// Called by the emulator.
void check_arena(const void* begin, std::size_t bytes);
void check_fresh(const void* begin, std::size_t bytes);  // contents undefined from here on
void check_launch();
void check_block_start();
void check_barrier();
void check_warp_barrier(int thread);
int current_thread();  // of the block; -1 on the host

}  // namespace shori::emulator
