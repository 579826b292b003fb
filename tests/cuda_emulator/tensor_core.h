// The matrix and asynchronous-copy instructions of kernels/common/cuda_common.cuh, with the register layouts of the PTX
// manual ("Matrix Fragments for mma.m16n8k16", "ldmatrix", "cp.async"). Below, g = lane / 4 and t = lane % 4.
#pragma once

#include <cstdint>

#include "shori/util/bf16.h"
#include "tests/cuda_emulator/cuda_emulator.h"

namespace shori {

namespace emulator {

void start_copy(void* shared, const void* global, bool valid);
void commit_copies();
void wait_copies(int groups_left);

// Loads kMatrices 8x8 matrices of 16-bit values. Lane 8*i + j passes the address of row j of matrix i.
template <int kMatrices>
void load_matrices(std::uint32_t (&registers)[kMatrices], const void* row, bool transposed, Location where) {
  if (lane() < 8 * kMatrices) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) fail("ldmatrix: row address is not a multiple of 16 bytes");
    if (!is_shared(row, 16)) fail("ldmatrix: row lies outside shared memory");
  }
  const auto rows = exchange(row, "ldmatrix", where);
  const auto element = [&](int matrix, int row_index, int column) {
    const auto* address = static_cast<const std::uint16_t*>(rows[8 * matrix + row_index]) + column;
    note_access(address, 2, false);
    return std::uint32_t{*address};
  };
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < kMatrices; ++i) {
    registers[i] = transposed ? element(i, 2 * t, g) | element(i, 2 * t + 1, g) << 16
                              : element(i, g, 2 * t) | element(i, g, 2 * t + 1) << 16;
  }
}

struct MmaOperands {
  std::uint32_t a[4];
  std::uint32_t b[2];
};

}  // namespace emulator

// ---- The names and signatures of the inline PTX in cuda_common.cuh ----

inline void cp_async_16(void* shared, const void* global, bool valid = true) {
  emulator::start_copy(shared, global, valid);
}
inline void cp_async_commit() { emulator::commit_copies(); }
template <int kGroupsLeft>
void cp_async_wait() {
  emulator::wait_copies(kGroupsLeft);
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row,
                        emulator::Location where = emulator::Location::current()) {
  emulator::load_matrices(r, row, false, where);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row,
                              emulator::Location where = emulator::Location::current()) {
  emulator::load_matrices(r, row, true, where);
}

// The 16 products are exact in fp32; they are summed in double and rounded once. Hardware truncates while it adds, so its
// last bits differ, and tests compare such results with a tolerance and never by bits.
inline void mma_m16n8k16_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                              emulator::Location where = emulator::Location::current()) {
  emulator::MmaOperands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto warp = emulator::exchange(mine, "mma", where);
  const int g = emulator::lane() / 4, t = emulator::lane() % 4;
  double sum[4] = {c[0], c[1], c[2], c[3]};
  for (int quad = 0; quad < 4; ++quad) {  // lane `4 * row + quad` holds k = 2*quad, +1, +8, +9
    const emulator::MmaOperands row = warp[4 * g + quad];
    const emulator::MmaOperands column[2] = {warp[4 * (2 * t) + quad], warp[4 * (2 * t + 1) + quad]};
    for (int half = 0; half < 2; ++half) {  // k below 8, k from 8
      for (int i = 0; i < 4; ++i) {         // c0, c1: row g; c2, c3: row g + 8; columns 2t, 2t + 1
        const std::uint32_t left = row.a[2 * half + i / 2], right = column[i % 2].b[half];
        sum[i] += double{low_bf16(left)} * low_bf16(right) + double{high_bf16(left)} * high_bf16(right);
      }
    }
  }
  for (int i = 0; i < 4; ++i) c[i] = static_cast<float>(sum[i]);
}

}  // namespace shori
