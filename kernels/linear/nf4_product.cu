// Products with NF4 weights for many tokens, y = [x | xA] . [W | B']^T and [dx | dxA] = dy . [W | B'], for GeForce cards
// (sm_86, sm_89): their tensor cores add in fp16 at twice the rate at which they add in fp32.
//
// A thread block makes a tile of 256 rows and 128 columns of the result in steps of 64 of the sum. In each step it copies a
// part of x (or dy) by cp.async, decodes a part of W once for all its rows, and multiplies the parts of the step before. Both
// exist twice in shared memory, so one barrier a step suffices. A warp makes 64 x 64 of the tile, 32 columns at a time. A
// weight is level * scale in fp32, rounded once, to fp16. LoRA columns of x stay bf16 and go through bf16 tensor cores with
// fp32 sums, as in a product of cuBLASLt. Consecutive blocks share rows and weights in the L2 (tile_of).
//
// Sums of 64 in fp16 cannot overflow unless a weight is extreme. A row of x' is x times a power of two, so |x'| <= 16; a
// weight is at most the absmax S of its quantization block; each of the four instructions of a step rounds once:
//   |sum| <= 64 * 16 * S * (1 + 2^-11)^5 < 65504  for  S < 63.8.
// For dxA, S is 16 |B'| (kLoraScale), so |B'| < 3.9. Beyond that the sum is infinite, y is not finite, and the guard of
// non-finite losses names the product. Values of a row that are 2^18 times smaller than its largest one lose digits.
//
// Error against fp64 with normal operands, also where columns are 60 times larger (K = 4,096 and 14,336): 4e-4 if the tensor
// cores round fp16 sums to nearest, 1.1e-3 if they truncate once an instruction. Weights rounded to bf16 give 1.6e-3.
//
// What 105 TFLOP/s on an RTX 3090 need (82 multiprocessors, 1.695 GHz). A quarter of a multiprocessor multiplies 16 x 8 x 16,
// 4,096 FLOP, in 16 cycles with fp16 sums: 142.3 TFLOP/s. 105 are one HMMA in 21.7 cycles. For each of them:
//   - one quarter can issue 21.7 instructions. With half of these slots used, HMMA is at least 1 / 10.8 = 9.2 % of them.
//   - shared memory moves 128 bytes a cycle for four quarters: 5.4 cycles an HMMA. LDSM.x4 takes 4, a row of LDS 1. With
//     half of that used, 4 LDSM + LDS <= 2.7 (both for each HMMA). Designed are 4 * 0.375 + 0.25 = 1.75.
// tests/gpu/check_product.py counts both. With fp32 sums (kHalfSums false) an HMMA takes 32 cycles, so 71.2 TFLOP/s is the limit.
#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_product_launch.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kTileM = 256, kTileN = 128, kTileK = 64;
constexpr int kWarpM = 64, kWarpN = 64;  // of a warp, four by two in a tile
constexpr int kHalfN = kWarpN / 2;
constexpr int kRowVectors = kTileK / kVector;     // of a row of A, and of B as [n][k]
constexpr int kColumnVectors = kTileN / kVector;  // of a row of B as [k][n]
constexpr int kABytes = kTileM * kTileK * 2, kBBytes = kTileN * kTileK * 2;
constexpr int kSharedBytes = 2 * (kABytes + kBBytes);
constexpr int kFetched = 32;  // weights that a thread decodes in a step; they lie in one quantization block
constexpr float kLoraScale = 16.0f;
static_assert(kTileN * kTileK == kThreads * kFetched && kTileM * kTileN * 2 <= 2 * kABytes);

using LevelTable = float[16][32];  // a copy for each lane, so that no two lanes meet in one bank

struct Fragment {
  std::uint32_t r[4];
};
// Sums of a warp: [16 rows each][8 columns each].
using Sums = float[kWarpM / 16][kWarpN / 8][4];

// ---- The part of a tile that a thread works on ----

// Tile of the result. Blocks that run at the same time make group_m tiles of rows by as many tiles of columns as there are
// multiprocessors for, so that they read few different parts of both operands.
struct TilePosition {
  int m, n;
};
__device__ __forceinline__ TilePosition tile_of(int block, int tiles_m, int tiles_n, int group_m) {
  const int group = block / (group_m * tiles_n), first = group * group_m;
  const int rows = tiles_m - first < group_m ? tiles_m - first : group_m;
  const int inside = block - group * group_m * tiles_n;
  return {first + inside % rows, inside / rows};
}

struct WarpLane {
  int lane, m, n;  // the lane, and the first row and column of its warp in the tile
};
__device__ __forceinline__ WarpLane this_lane() {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  return {static_cast<int>(threadIdx.x) % 32, warp / 2 * kWarpM, warp % 2 * kWarpN};
}

// Parts in shared memory are rows of vectors: A [256][8], B of y [128 n][8 k], B of dx [64 k][16 n]. Vector v of row r is at
// v ^ (r % 8), so that neither the 8 rows of ldmatrix nor 8 stores meet in a bank. Below, rows differ by multiples of 8 from
// one whose r % 8 is written out, and vectors by bits: what changes within a step is added or XORed as a constant.

// The part of B that a thread fills: a row, and the first of four vectors.
struct Part {
  int row, vector;
};
template <bool kTransposed>
__device__ __forceinline__ Part this_part() {
  const int thread = static_cast<int>(threadIdx.x);
  if (kTransposed) return {thread / 2, thread % 2 * 4};
  return {thread / 32 * 8 + thread % 8, thread / 8 % 4 * 4};
}

// Starts the copies of columns [column, column + 64) of A. What lies at or after `end`, or after the last row, is zero.
__device__ __forceinline__ void copy_a(uint4* stage, const Nf4ProductLaunch& a, int first_row, int column, int end) {
  constexpr int kRows = kThreads / kRowVectors;  // at once
  const int vector = static_cast<int>(threadIdx.x) % kRowVectors, row = static_cast<int>(threadIdx.x) / kRowVectors;
  const int rows_left = column + vector * kVector < end ? a.m - first_row - row : 0;
  const std::uint16_t* from = a.a + (first_row + row) * a.a_stride + column + vector * kVector;
  uint4* to = stage + row * kRowVectors + (vector ^ (row % 8));
#pragma unroll
  for (int i = 0; i < kTileM / kRows; ++i) {
    const bool valid = i * kRows < rows_left;
    cp_async_16(to + i * kRows * kRowVectors, valid ? from : a.a, valid);
    from += kRows * a.a_stride;
  }
}

// ---- Weights ----

// 32 codes of a row with their scale; a scale of 0 where there are none.
struct Fetched {
  uint4 codes;
  float scale;
};
__device__ __forceinline__ Fetched fetch_weights(const Nf4ProductLaunch& a, const Nf4ProductModule& module, int row,
                                                 int column) {
  if (row >= module.rows || column >= a.in) return {make_uint4(0, 0, 0, 0), 0.0f};
  const std::int64_t element = static_cast<std::int64_t>(row) * a.in + column, block = element / kNf4BlockSize;
  Fetched fetched;
  fetched.codes = __ldg(reinterpret_cast<const uint4*>(module.codes + element / 2));
  fetched.scale = module.scales != nullptr ? __ldg(module.scales + block)
                                           : nf4_scale(__ldg(a.map + __ldg(module.absmax + block)),
                                                       __ldg(module.absmax2 + block / kNf4GroupSize), module.offset);
  return fetched;
}
__device__ __forceinline__ uint4 decode_vector(unsigned codes, float scale, const LevelTable& level, int lane) {
  unsigned word[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned byte = codes >> (8 * i);
    word[i] = pack_half(level[byte >> 4 & 15u][lane] * scale, level[byte & 15u][lane] * scale);
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}
__device__ __forceinline__ unsigned word_of(const uint4& vector, int index) {
  return index == 0 ? vector.x : index == 1 ? vector.y : index == 2 ? vector.z : vector.w;
}

// 8 of the LoRA columns of [W | B'], from LoRA column `first` on, as bf16 or as fp16 times kLoraScale.
template <bool kHalf>
__device__ __forceinline__ uint4 lora_vector(const Nf4ProductLaunch& a, const Nf4ProductModule& module, int row,
                                             int first) {
  unsigned word[kVector / 2];
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    Bf16 pair[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = first + 2 * i + j - module.b_column;
      const bool inside = module.b != nullptr && row < module.rows && column >= 0 && column < a.rank;
      pair[j] = inside ? module.b[static_cast<std::int64_t>(row) * a.rank + column] : Bf16{0};
    }
    const float low = to_float(pair[0]), high = to_float(pair[1]);
    word[i] = kHalf ? pack_half(low * kLoraScale, high * kLoraScale) : pack_bf16(low, high);
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

// ---- Multiplying one step ----

__device__ __forceinline__ Fragment load_a(const uint4* stage, const WarpLane& warp, int m, int step) {
  Fragment fragment;
  const int row = (warp.m + warp.lane % 16) * kRowVectors, vector = warp.lane / 16 ^ (warp.lane % 8);
  ldmatrix_x4(fragment.r, stage + row + m * 16 * kRowVectors + (vector ^ (step * 2)));
  return fragment;
}
// 16 columns of the warp from 16 * n on; the first 8 are registers 0 and 1.
template <bool kTransposed>
__device__ __forceinline__ Fragment load_b(const uint4* stage, const WarpLane& warp, int n, int step) {
  Fragment fragment;
  const int matrix = warp.lane / 8, line = warp.lane % 8;
  if (kTransposed) {
    const int row = (warp.n + matrix / 2 * 8 + line) * kRowVectors, vector = matrix % 2 ^ line;
    ldmatrix_x4(fragment.r, stage + row + n * 16 * kRowVectors + (vector ^ (step * 2)));
  } else {
    const int row = (matrix % 2 * 8 + line) * kColumnVectors, vector = (warp.n / kVector | matrix / 2) ^ line;
    ldmatrix_x4_trans(fragment.r, stage + row + step * 16 * kColumnVectors + (vector ^ (n * 2)));
  }
  return fragment;
}

template <bool kHalfSums>
struct Partial {
  std::uint32_t pair[kWarpM / 16][kHalfN / 8][2] = {};
};
template <>
struct Partial<false> {};

// One 16 x 8 x 16 product into the fp16 or the fp32 sums.
__device__ __forceinline__ void multiply(Partial<true>& partial, Sums&, int m, int n, int, const Fragment& a,
                                         std::uint32_t b0, std::uint32_t b1) {
  mma_m16n8k16_f16(partial.pair[m][n], a.r, {b0, b1});
}
__device__ __forceinline__ void multiply(Partial<false>&, Sums& sum, int m, int n, int first_n, const Fragment& a,
                                         std::uint32_t b0, std::uint32_t b1) {
  mma_m16n8k16_f16_f32(sum[m][first_n + n], a.r, {b0, b1});
}
__device__ __forceinline__ void promote(const Partial<true>& partial, Sums& sum, int first_n) {
#pragma unroll
  for (int m = 0; m < kWarpM / 16; ++m) {
#pragma unroll
    for (int n = 0; n < kHalfN / 8; ++n) {
      float (&to)[4] = sum[m][first_n + n];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        to[2 * i] += low_half(partial.pair[m][n][i]);
        to[2 * i + 1] += high_half(partial.pair[m][n][i]);
      }
    }
  }
}
__device__ __forceinline__ void promote(const Partial<false>&, Sums&, int) {}

// sum += A . B of one step. between(0 .. 3) is called while products are in flight.
template <bool kTransposed, bool kHalfSums, class Between>
__device__ __forceinline__ void multiply_step(const uint4* a_stage, const uint4* b_stage, const WarpLane& warp,
                                              Sums& sum, const Between& between) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    Partial<kHalfSums> partial;
#pragma unroll 1  // unrolled, the loop needs more registers than a thread has
    for (int pair = 0; pair < kTileK / 32; ++pair) {
#pragma unroll
      for (int step = 2 * pair; step < 2 * pair + 2; ++step) {
        Fragment b[kHalfN / 16];
#pragma unroll
        for (int n = 0; n < kHalfN / 16; ++n) b[n] = load_b<kTransposed>(b_stage, warp, half * (kHalfN / 16) + n, step);
#pragma unroll
        for (int m = 0; m < kWarpM / 16; ++m) {
          const Fragment a = load_a(a_stage, warp, m, step);
#pragma unroll
          for (int n = 0; n < kHalfN / 8; ++n)
            multiply(partial, sum, m, n, half * (kHalfN / 8), a, b[n / 2].r[n % 2 * 2], b[n / 2].r[n % 2 * 2 + 1]);
        }
      }
      between(half * 2 + pair);
    }
    promote(partial, sum, half * (kHalfN / 8));
  }
}

// ---- The steps of a tile ----

// The part of the sum that one step adds: columns [column, end) of A; from `k` on, columns (y) or rows (dx) of the module.
struct Step {
  int module, k, column, end;
};
// Steps of y go over the columns of the tile's module, steps of dx over the rows of all modules.
template <bool kTransposed>
__device__ __forceinline__ Step step_of(const Nf4ProductLaunch& a, int module, int index) {
  if (kTransposed) return {module, index * kTileK, index * kTileK, a.in};
  int of = 0;
  for (; of + 1 < a.modules && index >= ceil_div(a.module[of].rows, kTileK); ++of) {
    index -= ceil_div(a.module[of].rows, kTileK);
  }
  const int first = a.module[of].first_output;
  return {of, index * kTileK, first + index * kTileK, first + a.module[of].rows};
}
template <bool kTransposed>
__device__ __forceinline__ int count_steps(const Nf4ProductLaunch& a) {
  if (kTransposed) return ceil_div(a.in, kTileK);
  int count = 0;
  for (int i = 0; i < a.modules; ++i) count += ceil_div(a.module[i].rows, kTileK);
  return count;
}

// What fills B. next(step) is called once for each step, in order, one step before write(vector) asks for its vectors.
template <bool kTransposed>
struct WeightSource {
  const Nf4ProductLaunch& a;
  const LevelTable& level;
  int first;  // row (y) or column (dx) of the weights where the tile begins
  Part part;
  int lane;
  Fetched held;

  __device__ __forceinline__ void next(const Step& step) {
    const Nf4ProductModule& module = a.module[step.module];
    held = kTransposed ? fetch_weights(a, module, first + part.row, step.k + part.vector * kVector)
                       : fetch_weights(a, module, step.k + part.row, first + part.vector * kVector);
  }
  __device__ __forceinline__ uint4 write(const Step&, int vector) const {
    return decode_vector(word_of(held.codes, vector), held.scale, level, lane);
  }
};
// The LoRA columns of dx.
struct LoraSource {
  const Nf4ProductLaunch& a;
  int first;
  Part part;

  __device__ __forceinline__ void next(const Step&) {}
  __device__ __forceinline__ uint4 write(const Step& step, int vector) const {
    return lora_vector<true>(a, a.module[step.module], step.k + part.row, first + (part.vector + vector) * kVector);
  }
};

template <bool kTransposed, bool kHalfSums, class Source>
__device__ __forceinline__ void multiply_steps(const Nf4ProductLaunch& a, int module, int first_row, uint4* stages,
                                               const WarpLane& warp, const Part& part, Source source, Sums& sum) {
  uint4* const b_stages = stages + 2 * kABytes / 16;
  const auto b_stage = [&](int index) { return b_stages + index % 2 * (kBBytes / 16); };
  const int row = part.row * (kTransposed ? kRowVectors : kColumnVectors), first = part.vector ^ (part.row % 8);
  const auto write_b = [&](int index, const Step& step, int vector) {
    b_stage(index)[row + (first ^ vector)] = source.write(step, vector);
  };
  const int count = count_steps<kTransposed>(a);
  Step step = step_of<kTransposed>(a, module, 0);
  copy_a(stages, a, first_row, step.column, step.end);
  cp_async_commit();
  source.next(step);
#pragma unroll
  for (int vector = 0; vector < 4; ++vector) write_b(0, step, vector);
  if (count > 1) source.next(step_of<kTransposed>(a, module, 1));
#pragma unroll 1
  for (int index = 0; index < count; ++index) {
    cp_async_wait<0>();
    __syncthreads();  // all threads see the step, and nobody reads the stages of the one before any more
    const bool has_next = index + 1 < count;
    if (has_next) {
      step = step_of<kTransposed>(a, module, index + 1);
      copy_a(stages + (index + 1) % 2 * (kABytes / 16), a, first_row, step.column, step.end);
    }
    cp_async_commit();
    // The last step decodes once more what it holds, into a stage that nobody reads: cheaper than a branch between products.
    multiply_step<kTransposed, kHalfSums>(stages + index % 2 * (kABytes / 16), b_stage(index), warp, sum,
                                          [&](int vector) { write_b(index + 1, step, vector); });
    if (index + 2 < count) source.next(step_of<kTransposed>(a, module, index + 2));
  }
}

// The LoRA columns of y: bf16 operands, fp32 sums. There are few steps, and they are not overlapped.
__device__ __forceinline__ void add_lora_columns(const Nf4ProductLaunch& a, const Nf4ProductModule& module,
                                                 int first_row, int first_column, uint4* stages, const WarpLane& warp,
                                                 Sums& sum) {
  uint4* const b_stage = stages + 2 * kABytes / 16;
  const Part part = this_part<true>();
#pragma unroll 1
  for (int k = 0; k < a.lora_columns; k += kTileK) {
    __syncthreads();  // the stages are free
    copy_a(stages, a, first_row, a.in + k, a.in + a.lora_columns);
    cp_async_commit();
#pragma unroll
    for (int vector = 0; vector < 4; ++vector) {
      b_stage[part.row * kRowVectors + ((part.vector + vector) ^ (part.row % 8))] =
          lora_vector<false>(a, module, first_column + part.row, k + (part.vector + vector) * kVector);
    }
    cp_async_wait<0>();
    __syncthreads();
    const int steps = a.lora_columns - k < kTileK ? (a.lora_columns - k) / 16 : kTileK / 16;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
#pragma unroll
      for (int m = 0; m < kWarpM / 16; ++m) {
        const Fragment left = load_a(stages, warp, m, step);
#pragma unroll
        for (int n = 0; n < kWarpN / 16; ++n) {
          const Fragment right = load_b<true>(b_stage, warp, n, step);
          mma_m16n8k16_bf16(sum[m][2 * n], left.r, {right.r[0], right.r[1]});
          mma_m16n8k16_bf16(sum[m][2 * n + 1], left.r, {right.r[2], right.r[3]});
        }
      }
    }
  }
}

// Rounds the tile and writes its columns below `end`, by way of shared memory, so that neighbours are stored by one access.
__device__ __forceinline__ void store_tile(const Nf4ProductLaunch& a, int first_row, int first_column, int end,
                                           float factor, uint4* stages, const WarpLane& warp, const Sums& sum) {
  __syncthreads();  // the stages are free
  auto* words = reinterpret_cast<unsigned*>(stages);
  const auto vector_of = [](int row, int vector) { return row * kColumnVectors + (vector ^ (row % 8)); };
#pragma unroll
  for (int m = 0; m < kWarpM / 16; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = warp.m + m * 16 + i * 8 + warp.lane / 4;
      const float undo = first_row + row < a.m ? __ldg(a.undo + first_row + row) * factor : 0.0f;
#pragma unroll
      for (int n = 0; n < kWarpN / 8; ++n) {
        words[vector_of(row, warp.n / kVector + n) * 4 + warp.lane % 4] =
            pack_bf16(sum[m][n][2 * i] * undo, sum[m][n][2 * i + 1] * undo);
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTileM * kColumnVectors; i += kThreads) {
    const int row = i / kColumnVectors, vector = i % kColumnVectors, column = first_column + vector * kVector;
    if (first_row + row >= a.m || column >= end) continue;
    *reinterpret_cast<uint4*>(a.y + (first_row + row) * a.y_stride + column) = stages[vector_of(row, vector)];
  }
}

__device__ __forceinline__ void fill_levels(LevelTable& level) {
  for (int i = static_cast<int>(threadIdx.x); i < 16 * 32; i += kThreads) level[i / 32][i % 32] = nf4_level(i / 32);
  __syncthreads();
}

int tiles_of_modules(const Nf4ProductLaunch& a) {
  int tiles = 0;
  for (int i = 0; i < a.modules; ++i) tiles += ceil_div(a.module[i].rows, kTileN);
  return tiles;
}

// y. A tile belongs to one module.
template <bool kHalfSums>
__global__ void __launch_bounds__(kThreads, 1) nf4_product_kernel(Nf4ProductLaunch a, int tiles_n) {
  SHORI_SHARED(float, level, [16][32]);
  auto* stages = dynamic_shared<uint4>();
  const WarpLane warp = this_lane();
  const Part part = this_part<true>();
  TilePosition tile = tile_of(static_cast<int>(blockIdx.x), ceil_div(a.m, kTileM), tiles_n, a.group_m);
  int index = 0;
  for (; tile.n >= ceil_div(a.module[index].rows, kTileN); ++index) tile.n -= ceil_div(a.module[index].rows, kTileN);
  const Nf4ProductModule& module = a.module[index];
  const int first_row = tile.m * kTileM, first_column = tile.n * kTileN;
  fill_levels(level);
  Sums sum = {};
  multiply_steps<true, kHalfSums>(a, index, first_row, stages, warp, part,
                                  WeightSource<true>{a, level, first_column, part, warp.lane, {}}, sum);
  add_lora_columns(a, module, first_row, first_column, stages, warp, sum);
  store_tile(a, first_row, module.first_output + first_column, module.first_output + module.rows, 1.0f, stages, warp,
             sum);
}

// [dx | dxA]. A tile has columns of dx or of dxA.
template <bool kHalfSums>
__global__ void __launch_bounds__(kThreads, 1) nf4_product_backward_kernel(Nf4ProductLaunch a, int tiles_n) {
  SHORI_SHARED(float, level, [16][32]);
  auto* stages = dynamic_shared<uint4>();
  const WarpLane warp = this_lane();
  const Part part = this_part<false>();
  const TilePosition tile = tile_of(static_cast<int>(blockIdx.x), ceil_div(a.m, kTileM), tiles_n, a.group_m);
  const int first_row = tile.m * kTileM, base_tiles = ceil_div(a.in, kTileN);
  fill_levels(level);
  Sums sum = {};
  if (tile.n < base_tiles) {
    const int first_column = tile.n * kTileN;
    multiply_steps<false, kHalfSums>(a, 0, first_row, stages, warp, part,
                                     WeightSource<false>{a, level, first_column, part, warp.lane, {}}, sum);
    store_tile(a, first_row, first_column, a.in, 1.0f, stages, warp, sum);
  } else {
    const int first_column = (tile.n - base_tiles) * kTileN;
    multiply_steps<false, kHalfSums>(a, 0, first_row, stages, warp, part, LoraSource{a, first_column, part}, sum);
    store_tile(a, first_row, a.in + first_column, a.in + a.lora_columns, 1.0f / kLoraScale, stages, warp, sum);
  }
}

}  // namespace

void launch_nf4_product(const Nf4ProductLaunch& arguments, cudaStream_t stream) {
  const int tiles_n = tiles_of_modules(arguments);
  const auto kernel =
      arguments.half_sums ? SHORI_KERNEL(nf4_product_kernel<true>) : SHORI_KERNEL(nf4_product_kernel<false>);
  launch(kernel, static_cast<unsigned>(ceil_div(arguments.m, kTileM) * tiles_n), kThreads, kSharedBytes, stream,
         arguments, tiles_n);
}

void launch_nf4_product_backward(const Nf4ProductLaunch& arguments, cudaStream_t stream) {
  const int tiles_n = ceil_div(arguments.in, kTileN) + ceil_div(arguments.lora_columns, kTileN);
  const auto kernel = arguments.half_sums ? SHORI_KERNEL(nf4_product_backward_kernel<true>)
                                          : SHORI_KERNEL(nf4_product_backward_kernel<false>);
  launch(kernel, static_cast<unsigned>(ceil_div(arguments.m, kTileM) * tiles_n), kThreads, kSharedBytes, stream,
         arguments, tiles_n);
}

}  // namespace shori
