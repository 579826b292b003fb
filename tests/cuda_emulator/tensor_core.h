// The matrix, asynchronous-copy and other instructions of kernels/common/cuda_common.cuh, with the register layouts of the
// PTX manual ("Matrix Fragments for mma.m16n8k16", "ldmatrix", "cp.async"). Below, g = lane / 4 and t = lane % 4.
#pragma once

#include <cstdint>

#include "shori/io/half.h"
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

// What a lane holds of a and b, as fp32, which every 16-bit value is exactly. Each lane converts its own part once.
struct MmaOperands {
  float a[4][2];
  float b[2][2];
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

inline float approximate_reciprocal(float d) { return 1.0f / d; }
inline std::uint32_t low_halves(std::uint32_t first, std::uint32_t second) { return (first & 0xffffu) | second << 16; }
inline std::uint32_t high_halves(std::uint32_t first, std::uint32_t second) {
  return first >> 16 | (second & 0xffff0000u);
}
inline std::uint32_t spread_signs(std::uint32_t word) {
  return ((word & 0x8000u) != 0 ? 0xffffu : 0u) | ((word & 0x80000000u) != 0 ? 0xffff0000u : 0u);
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row,
                        emulator::Location where = emulator::Location::current()) {
  emulator::load_matrices(r, row, false, where);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row,
                              emulator::Location where = emulator::Location::current()) {
  emulator::load_matrices(r, row, true, where);
}

namespace emulator {

// c (16x8) += a (16x16) . b (16x8), summed in double: the four sums of the calling lane, not rounded yet. Products of two
// 16-bit values are exact. low(pair), high(pair): the values of a register.
template <class Low, class High>
void multiply(double (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], const Low& low,
              const High& high, Location where) {
  MmaOperands mine;
  for (int i = 0; i < 4; ++i) mine.a[i][0] = low(a[i]), mine.a[i][1] = high(a[i]);
  for (int i = 0; i < 2; ++i) mine.b[i][0] = low(b[i]), mine.b[i][1] = high(b[i]);
  const auto warp = exchange(mine, "mma", where);
  const int g = lane() / 4, t = lane() % 4;
  for (int quad = 0; quad < 4; ++quad) {  // lane `4 * row + quad` holds k = 2*quad, +1, +8, +9
    const MmaOperands row = warp[4 * g + quad];
    const MmaOperands column[2] = {warp[4 * (2 * t) + quad], warp[4 * (2 * t + 1) + quad]};
    for (int half = 0; half < 2; ++half) {  // k below 8, k from 8
      // c0, c1: row g; c2, c3: row g + 8; columns 2t, 2t + 1
      for (int i = 0; i < 4; ++i) {
        const float (&left)[2] = row.a[2 * half + i / 2];
        const float (&right)[2] = column[i % 2].b[half];
        sum[i] += double{left[0]} * right[0] + double{left[1]} * right[1];
      }
    }
  }
}

// The fp16 value that a sum becomes, under sums_are_truncated() the nearest one towards zero.
std::uint16_t round_sum(double sum);

}  // namespace emulator

inline float low_half(std::uint32_t pair) { return half_to_float(static_cast<std::uint16_t>(pair)); }
inline float high_half(std::uint32_t pair) { return half_to_float(static_cast<std::uint16_t>(pair >> 16)); }
inline std::uint32_t pack_half(float low, float high) {
  return std::uint32_t{float_to_half(low)} | std::uint32_t{float_to_half(high)} << 16;
}

// The 16 products are exact in fp32; they are summed in double and rounded once. Hardware truncates while it adds, so its
// last bits differ, and tests compare such results with a tolerance and never by bits.
inline void mma_m16n8k16_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                              emulator::Location where = emulator::Location::current()) {
  double sum[4] = {c[0], c[1], c[2], c[3]};
  emulator::multiply(sum, a, b, low_bf16, high_bf16, where);
  for (int i = 0; i < 4; ++i) c[i] = static_cast<float>(sum[i]);
}
inline void mma_m16n8k16_f16_f32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                                 emulator::Location where = emulator::Location::current()) {
  double sum[4] = {c[0], c[1], c[2], c[3]};
  emulator::multiply(sum, a, b, low_half, high_half, where);
  for (int i = 0; i < 4; ++i) c[i] = static_cast<float>(sum[i]);
}
// fp16 sums: one rounding for each instruction.
inline void mma_m16n8k16_f16(std::uint32_t (&c)[2], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                             emulator::Location where = emulator::Location::current()) {
  double sum[4] = {low_half(c[0]), high_half(c[0]), low_half(c[1]), high_half(c[1])};
  emulator::multiply(sum, a, b, low_half, high_half, where);
  for (int i = 0; i < 2; ++i) {
    c[i] = std::uint32_t{emulator::round_sum(sum[2 * i])} | std::uint32_t{emulator::round_sum(sum[2 * i + 1])} << 16;
  }
}
// With the upper 8 of its 16 products zero it is the other one.
inline void mma_m16n8k8_bf16(float (&c)[4], const std::uint32_t (&a)[2], std::uint32_t b,
                             emulator::Location where = emulator::Location::current()) {
  mma_m16n8k16_bf16(c, {a[0], a[1], 0, 0}, {b, 0}, where);
}

}  // namespace shori
