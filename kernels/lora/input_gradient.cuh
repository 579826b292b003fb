// The LoRA part of dx, computed inside the kernels that read dx anyway, so that it is never stored.
//
// A warp works on 64 columns and 8 tokens at a time. The columns are the m16 side of the tensor cores, the tokens the n8
// side, the rank is summed. Lane (g, t) then owns columns 8g .. 8g + 7 of tokens 2t and 2t + 1: it reads and writes them by
// 16-byte accesses, and 8 lanes cover 128 neighbouring bytes of a row.
//
// - Fragments of A need no shared memory. The product does not change if both operands permute the rank in the same way:
//   of each 16 ranks lane t takes t, t + 4, t + 8 and t + 12, by one 16-byte load of A for each, whose halves are then
//   paired. Where a group has one module, a warp keeps its fragments in registers for all tokens of a block.
// - dxA of a block's tokens is in shared memory, in that order: one 8-byte load is the fragment of 8 tokens and 16 ranks.
// - The dropout mask is one byte for the 8 columns of a token and module (dropout_mask.cuh), drawn once before.
//
// Loads of what nobody writes have their row, column or rank moved inside; what they then read is multiplied by zero or not
// stored.
#pragma once

#include <type_traits>

#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

inline constexpr int kTileTokens = 8;    // of one product
inline constexpr int kWarpColumns = 64;  // of one product
inline constexpr int kLaneTokens = 2;

// The sum over the rank in parts of 8 ranks, kEights of them: two at a time, the last one alone if they are odd.
inline constexpr int kMaxEights = kMaxDeviceRank / 8;
constexpr int rank_steps(int eights) { return (eights + 1) / 2; }

// dxA of one token in shared memory, in uint2: for each module and step 16 ranks. An odd number of 32-byte units, so that
// the tokens of a fragment lie in different banks.
template <int kEights>
SHORI_HD int dxa_stride(int modules) {
  return (modules * rank_steps(kEights) | 1) * 4;
}
template <int kEights>
inline std::size_t dxa_bytes(int modules, int tokens) {
  return static_cast<std::size_t>(dxa_stride<kEights>(modules) * tokens) * sizeof(uint2);
}

// Loads dxA of kTokens tokens from `first_row` on; ranks and rows past the end become zeros. All threads of the block call
// it; it ends with a barrier.
template <int kEights, int kTokens>
__device__ __forceinline__ void load_dxa(const InputGradientLaunch& a, std::int64_t first_row, uint2* dxa) {
  const int warps = static_cast<int>(blockDim.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int item = static_cast<int>(threadIdx.x) / 32; item < kTokens * a.modules; item += warps) {
    const int token = item % kTokens, module = item / kTokens;
    const Bf16* from = a.dx + (first_row + token) * a.stride + a.cols + module * a.rank;
    auto* to = reinterpret_cast<Bf16*>(dxa + token * dxa_stride<kEights>(a.modules) + module * rank_steps(kEights) * 4);
#pragma unroll
    for (int first = 0; first < rank_steps(kEights) * 16; first += 32) {
      const int rank = first + lane;
      if (rank >= rank_steps(kEights) * 16) continue;
      const int position = rank / 16 * 16 + rank % 4 * 4 + rank % 16 / 4;
      to[position] = rank < a.rank && first_row + token < a.rows ? from[rank] : Bf16{0};
    }
  }
  __syncthreads();
}

// A lane of a fragment.
struct FragmentLane {
  int g, t;
};
__device__ __forceinline__ FragmentLane fragment_lane() {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return {lane / 4, lane % 4};
}

// The two rows of a lane from `first` on; those past the end are moved inside.
struct LaneRows {
  int row[kLaneTokens];
};
__device__ __forceinline__ LaneRows lane_rows(const InputGradientLaunch& a, int first) {
  const int last = static_cast<int>(a.rows) - 1;
  return {{first < last ? first : last, first + 1 < last ? first + 1 : last}};
}

// Address of an element. One instruction multiplies 32-bit numbers to a 64-bit one.
template <class T>
__device__ __forceinline__ T* element(T* matrix, std::int64_t stride, int row, int column) {
  return matrix + std::int64_t{row} * static_cast<int>(stride) + column;
}

// A of one module for the columns of a warp: fragment j holds columns 2j and 2j + 1 of each lane's 8, and two registers for
// each 8 ranks.
template <int kEights>
struct Factor {
  std::uint32_t fragment[kEights][4][2];
};

// The fragments of 8 ranks from two rows of A.
__device__ __forceinline__ void pair_rows(const uint4& first, const uint4& second, std::uint32_t (&fragment)[4][2]) {
  fragment[0][0] = low_halves(first.x, second.x), fragment[0][1] = high_halves(first.x, second.x);
  fragment[1][0] = low_halves(first.y, second.y), fragment[1][1] = high_halves(first.y, second.y);
  fragment[2][0] = low_halves(first.z, second.z), fragment[2][1] = high_halves(first.z, second.z);
  fragment[3][0] = low_halves(first.w, second.w), fragment[3][1] = high_halves(first.w, second.w);
}

// A rank of a multiple of 4: the rows of a lane are t, t + 4, .., as far as the rank goes, and the last of them after it.
template <int kEights>
__device__ __forceinline__ Factor<kEights> load_factor(const InputGradientLaunch& a, int module, int column) {
  const int bytes = static_cast<int>(a.cols * sizeof(Bf16)), last = a.rank - 4;
  const auto* from =
      reinterpret_cast<const std::byte*>(element(a.a[module], a.cols, static_cast<int>(threadIdx.x) % 4, column));
  const auto load = [&](int rank) {
    const int inside = rank == 0 || rank < last ? rank : last;
    return __ldg(reinterpret_cast<const uint4*>(from + std::int64_t{inside} * bytes));
  };
  Factor<kEights> result;
#pragma unroll
  for (int eight = 0; eight < kEights; ++eight) {
    pair_rows(load(8 * eight), load(8 * eight + 4), result.fragment[eight]);
  }
  return result;
}

// Any rank: the fragments of 8 ranks from `first` on; those past the rank are moved inside.
__device__ __forceinline__ Factor<1> load_eight(const InputGradientLaunch& a, int module, int column, int first) {
  const auto load = [&](int rank) {
    const int inside = rank < a.rank ? rank : a.rank - 1;
    return __ldg(reinterpret_cast<const uint4*>(a.a[module] + (inside * static_cast<int>(a.cols) + column)));
  };
  const int rank = first + static_cast<int>(threadIdx.x) % 4;
  Factor<1> result;
  pair_rows(load(rank), load(rank + 4), result.fragment[0]);
  return result;
}

// Where a lane finds the mask bytes of module 0 for its two tokens, in bytes from the first.
struct MaskRows {
  unsigned offset[kLaneTokens];
};
__device__ __forceinline__ MaskRows mask_rows(const InputGradientLaunch& a, const LaneRows& rows, int column) {
  const unsigned bytes = static_cast<unsigned>(a.modules) * (static_cast<unsigned>(a.cols) / kVector);  // of a row
  const unsigned group = static_cast<unsigned>(column) / kVector;
  return {{static_cast<unsigned>(rows.row[0]) * bytes + group, static_cast<unsigned>(rows.row[1]) * bytes + group}};
}

using LaneValues = float[kLaneTokens][kVector];

// Which of its columns a lane keeps, for its two tokens.
struct LaneMask {
  unsigned kept[kLaneTokens];
};
__device__ __forceinline__ LaneMask load_mask(const InputGradientLaunch& a, const MaskRows& rows, int module) {
  if (a.kept == nullptr) return {{0xffu, 0xffu}};
  const unsigned shift = static_cast<unsigned>(module) * (static_cast<unsigned>(a.cols) / kVector);
  return {{__ldg(a.kept + (rows.offset[0] + shift)), __ldg(a.kept + (rows.offset[1] + shift))}};
}

// Adds fragment j of a product to the values that the mask keeps: column 2j of tokens 2t and 2t + 1, then column 2j + 1.
__device__ __forceinline__ void add_kept(const float (&product)[4], int j, float scale, const LaneMask& mask,
                                         LaneValues& value) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = i % 2, column = 2 * j + i / 2;
    if ((mask.kept[token] & 1u << bit_of_column(column)) == 0) continue;
    value[token][column] = fmaf(scale, product[i], value[token][column]);
  }
}

// An argument of the kernel in a register: for sm_90 ptxas would load it again before each use that depends on a mask.
__device__ __forceinline__ float in_register(float value) { return __shfl_sync(kFullWarp, value, 0); }

// Adds mask (.) scale * A^T . dxA of one module. `dxa` is that of the module and of token g of the tile.
template <int kEights>
__device__ __forceinline__ void add_module(const Factor<kEights>& factor, const uint2* dxa, float scale,
                                           const LaneMask& mask, LaneValues& value) {
  uint2 ranks[rank_steps(kEights)];
#pragma unroll
  for (int step = 0; step < rank_steps(kEights); ++step) ranks[step] = dxa[step * 4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float product[4] = {};
#pragma unroll
    for (int step = 0; step < kEights / 2; ++step) {
      const std::uint32_t (&low)[2] = factor.fragment[2 * step][j], (&high)[2] = factor.fragment[2 * step + 1][j];
      mma_m16n8k16_bf16(product, {low[0], low[1], high[0], high[1]}, {ranks[step].x, ranks[step].y});
    }
    if constexpr (kEights % 2 == 1) {
      mma_m16n8k8_bf16(product, factor.fragment[kEights - 1][j], ranks[kEights / 2].x);
    }
    add_kept(product, j, scale, mask, value);
  }
}

// Adds the LoRA part of all modules to the values of a lane, whose columns begin at `column`. `dxa` is that of token g of
// the tile. All lanes of a warp call it. kEights at its maximum is for any rank.
template <int kEights>
__device__ __forceinline__ void add_lora_part(const InputGradientLaunch& a, const uint2* dxa, int column,
                                              const MaskRows& mask, LaneValues& value) {
#pragma unroll 1
  for (int module = 0; module < a.modules; ++module) {
    const LaneMask kept = load_mask(a, mask, module);
    const uint2* of_module = dxa + module * (rank_steps(kEights) * 4);
    if constexpr (kEights < kMaxEights) {
      const Factor<kEights> factor = load_factor<kEights>(a, module, column);
      add_module<kEights>(factor, of_module, in_register(a.mask_scale), kept, value);
    } else {
      float product[4][4] = {};
#pragma unroll 1
      for (int first = 0; first < a.rank; first += 8) {
        const Factor<1> factor = load_eight(a, module, column, first);
        const uint2 ranks = of_module[first / 16 * 4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          mma_m16n8k8_bf16(product[j], factor.fragment[0][j], first % 16 == 0 ? ranks.x : ranks.y);
        }
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) add_kept(product[j], j, a.mask_scale, kept, value);
    }
  }
}

// A thread block of the kernels that need no sums over a row.
inline constexpr int kGradientThreads = 256;
inline constexpr int kBlockColumns = kGradientThreads / 32 * kWarpColumns;
inline constexpr int kBlockTokens = 64;

// What a lane has of a tile of 8 tokens.
struct GradientTile {
  LaneRows rows;
  int column;
  bool inside[kLaneTokens];  // false: the row or the column is not the lane's own, it was moved inside
};

// Calls body(tile, add) for each tile of a warp; add(values) adds the LoRA part to the lane's values. With kEights below the
// maximum there is one module, whose factor stays in registers.
template <int kEights, class Body>
__device__ __forceinline__ void for_each_tile(const InputGradientLaunch& a, const Body& body) {
  auto* dxa = dynamic_shared<uint2>();
  const int first_row = static_cast<int>(blockIdx.y) * kBlockTokens;
  load_dxa<kEights, kBlockTokens>(a, first_row, dxa);
  const auto [g, t] = fragment_lane();
  const auto warp_column = static_cast<int>(blockIdx.x * kBlockColumns + threadIdx.x / 32 * kWarpColumns);
  if (warp_column >= a.cols) return;  // the whole warp
  const bool has_columns = warp_column + g * kVector < a.cols;
  const int column = has_columns ? warp_column + g * kVector : warp_column;
  Factor<kEights> factor;
  if constexpr (kEights < kMaxEights) factor = load_factor<kEights>(a, 0, column);
  dxa += g * dxa_stride<kEights>(a.modules) + t;
  const int rows = static_cast<int>(a.rows),
            last_row = rows - first_row < kBlockTokens ? rows : first_row + kBlockTokens;
#pragma unroll 1
  for (int row = first_row + kLaneTokens * t; row - kLaneTokens * t < last_row; row += kTileTokens) {
    const GradientTile tile = {lane_rows(a, row), column, {has_columns && row < rows, has_columns && row + 1 < rows}};
    body(tile, [&](LaneValues& value) {
      const MaskRows mask = mask_rows(a, tile.rows, column);
      if constexpr (kEights < kMaxEights) {
        add_module<kEights>(factor, dxa, a.mask_scale, load_mask(a, mask, 0), value);
      } else {
        add_lora_part<kEights>(a, dxa, column, mask, value);
      }
    });
    dxa += kTileTokens * dxa_stride<kEights>(a.modules);
  }
}

// The instance for a rank: kEights is its parameter.
inline int eights_of(int rank) { return rank % 4 != 0 || rank > 32 ? kMaxEights : rank <= 16 ? 2 : rank <= 24 ? 3 : 4; }

// Calls launch(std::integral_constant<int, kEights>) with the instance for the modules and the rank.
template <class Launch>
void choose_eights(const InputGradientLaunch& a, const Launch& launch) {
  const int eights = a.modules == 1 ? eights_of(a.rank) : kMaxEights;
  if (eights == 2) return launch(std::integral_constant<int, 2>());
  if (eights == 3) return launch(std::integral_constant<int, 3>());
  if (eights == 4) return launch(std::integral_constant<int, 4>());
  launch(std::integral_constant<int, kMaxEights>());
}

inline dim3 gradient_grid(const InputGradientLaunch& a) {
  return dim3(block_count(a.cols, kBlockColumns), block_count(a.rows, kBlockTokens));
}

}  // namespace shori
