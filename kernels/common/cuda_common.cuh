// What every kernel file includes, and the only file with inline PTX. Under SHORI_CUDA_EMULATOR the same names come from
// tests/cuda_emulator, so a kernel that uses nothing else runs on the CPU as well.
//
//   launch(SHORI_KERNEL(kernel), grid, block, dynamic_shared_bytes, stream, args...)    the one way to start a kernel
//   block_count(items, items_per_block)                                   a grid dimension
//   SHORI_SHARED(float, tile, [32][33])                                   static shared memory, 16-byte aligned
//   dynamic_shared<T>()                                                   dynamic shared memory, 16-byte aligned
//   cp_async_16, cp_async_commit, cp_async_wait<N>                        16-byte copies global -> shared
//   ldmatrix_x4, ldmatrix_x4_trans, mma_m16n8k16_bf16, mma_m16n8k8_bf16   tensor cores
//   mma_m16n8k16_f16, mma_m16n8k16_f16_f32                                the same for fp16, with sums in fp16 or fp32
//   pack_half, low_half, high_half                                        two fp16 values of one register
//   load_vector, load_constant_vector, store_vector                       8 bf16 values by one 16-byte access, as fp32
//   unpack_bf16, pack_bf16_vector                                         the same for a value in registers
//   approximate_reciprocal                                                1 / d
//   low_halves, high_halves, spread_signs                                 16-bit halves of words
//   warp_sum, warp_max, block_sum, block_max                              reductions in a fixed order
//   entry_of_chunk (tensor_table.cuh)                                     finds the tensor that a chunk belongs to
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/launch.h"
#include "kernels/common/named_kernel.h"
#include "shori/util/bf16.h"
#include "shori/util/math.h"

#ifdef SHORI_CUDA_EMULATOR
#include "cuda_emulator.h"
#else

#include <cuda_runtime.h>

#include <utility>

#include "kernels/common/cuda_check.h"

#define SHORI_SHARED(type, name, extent) __shared__ alignas(16) type name extent

namespace shori {

template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ uint4 shori_dynamic_shared[];
  return reinterpret_cast<T*>(shori_dynamic_shared);
}

template <class... Params, class... Args>
void launch(const NamedKernel<Params...>& kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, Args&&... args) {
  const auto check = [&](cudaError_t result) {
    if (result == cudaSuccess) return;
    throw_cuda_error(result, launch_text(kernel.name, grid, block, dynamic_shared_bytes));
  };
  // A kernel must ask for more than 48 KiB of shared memory, its static part (at most 8 KiB here) included. The card
  // decides whether it gets it.
  if (dynamic_shared_bytes > 40 * 1024) {
    check(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(dynamic_shared_bytes)));
  }
  // clang-format off
  kernel.function<<<grid, block, dynamic_shared_bytes, stream>>>(std::forward<Args>(args)...);
  // clang-format on
  check(cudaGetLastError());
  if (waits_after_each_call()) check(cudaStreamSynchronize(stream));
}

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes, or writes 16 zeros if !valid, and then `global` is not read. Both addresses are multiples of 16.
__device__ inline void cp_async_16(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kGroupsLeft of this thread's committed groups are in flight. Other threads see the data after a
// __syncthreads.
template <int kGroupsLeft>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
}

// Loads four 8x8 matrices: lane 8*i + j passes the address of row j of matrix i. Register i of a lane then holds row
// lane/4, columns 2*(lane%4) and the next. `_trans` loads the transposed matrices.
__device__ inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c (16x8, fp32) += a (16x16, bf16) . b (16x8, bf16).
__device__ inline void mma_m16n8k16_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c (16x8) += a (16x16, fp16) . b (16x8, fp16). With fp16 sums, c[0] holds the two columns of the upper row, c[1] those of
// the lower one.
__device__ inline void mma_m16n8k16_f16(std::uint32_t (&c)[2], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};"
               : "+r"(c[0]), "+r"(c[1])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_m16n8k16_f16_f32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two values, each rounded to fp16, the first in the lower half; and each half back, exactly.
__device__ inline std::uint32_t pack_half(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ inline float low_half(std::uint32_t pair) {
  float value;
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low;}" : "=f"(value) : "r"(pair));
  return value;
}
__device__ inline float high_half(std::uint32_t pair) {
  float value;
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high;}" : "=f"(value) : "r"(pair));
  return value;
}

// c (16x8, fp32) += a (16x8, bf16) . b (8x8, bf16).
__device__ inline void mma_m16n8k8_bf16(float (&c)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}

// 1 / d with an error of 1 ulp; zero where that is below the normal numbers.
__device__ inline float approximate_reciprocal(float d) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
  return r;
}

// The low halves of two words as one word, and the high halves.
__device__ inline std::uint32_t low_halves(std::uint32_t first, std::uint32_t second) {
  return __byte_perm(first, second, 0x5410);
}
__device__ inline std::uint32_t high_halves(std::uint32_t first, std::uint32_t second) {
  return __byte_perm(first, second, 0x7632);
}

// 0xffff in each half of the result whose sign in `word` is set.
__device__ inline std::uint32_t spread_signs(std::uint32_t word) { return __byte_perm(word, 0, 0xbb99); }

}  // namespace shori
#endif

namespace shori {

inline constexpr unsigned kFullWarp = 0xffffffffu;
inline constexpr int kVector = 8;  // bf16 values of one 16-byte access

// Thread blocks for `items` when each block takes `items_per_block`: a grid dimension.
inline unsigned block_count(std::int64_t items, std::int64_t items_per_block) {
  return static_cast<unsigned>(ceil_div(items, items_per_block));
}

// The values of one 16-byte access as fp32, and back with one rounding each.
__device__ inline void unpack_bf16(uint4 packed, float (&value)[kVector]) {
  const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
  for (int i = 0; i < 4; ++i) {
    value[2 * i] = low_bf16(words[i]);
    value[2 * i + 1] = high_bf16(words[i]);
  }
}
__device__ inline uint4 pack_bf16_vector(const float (&value)[kVector]) {
  return make_uint4(pack_bf16(value[0], value[1]), pack_bf16(value[2], value[3]), pack_bf16(value[4], value[5]),
                    pack_bf16(value[6], value[7]));
}
__device__ inline void load_vector(const Bf16* from, float (&value)[kVector]) {
  unpack_bf16(*reinterpret_cast<const uint4*>(from), value);
}
// For memory that no thread writes while the kernel runs: it may be read through the read-only cache.
__device__ inline void load_constant_vector(const Bf16* from, float (&value)[kVector]) {
  unpack_bf16(__ldg(reinterpret_cast<const uint4*>(from)), value);
}
__device__ inline void store_vector(const float (&value)[kVector], Bf16* to) {
  *reinterpret_cast<uint4*>(to) = pack_bf16_vector(value);
}

// A butterfly exchange, so that every lane gets the same bits.
__device__ inline float warp_sum(float value) {
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(kFullWarp, value, bits);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int bits = 16; bits > 0; bits /= 2) {
    const float other = __shfl_xor_sync(kFullWarp, value, bits);
    value = other > value ? other : value;
  }
  return value;
}

// Reductions over the threads of a one-dimensional block; every thread gets the same bits. `partial` has 32 entries of
// shared memory, and is free again after the next barrier of the block.
__device__ inline float block_sum(float value, float* partial) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += partial[warp];
  return total;
}
__device__ inline float block_max(float value, float* partial) {
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float best = partial[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) best = partial[warp] > best ? partial[warp] : best;
  return best;
}

}  // namespace shori
