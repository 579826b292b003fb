// xA of all modules with LoRA of one input, by tensor cores.
//
// A thread block works on 64 tokens and one split of the columns, in chunks of 64 columns: four warps of 16 tokens take
// the low half of each chunk, four the high half. Halves and splits are added in a fixed order, which depends on the
// number of columns alone.
//
// The product does not change if both operands permute its k in the same way. Inside 32 columns, lane t of a row holds
// columns 8t .. 8t + 7, so a lane reads its tokens by one 16-byte load and draws their mask by one Philox call. It draws
// once for each module and shares neither with other lanes.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/lora_down_launch.h"

namespace shori {
namespace {

constexpr int kRows = 64;
constexpr int kRowWarps = kRows / 16;
constexpr int kThreads = 2 * kRowWarps * 32;
constexpr int kChunk = 64;                       // columns
constexpr int kChunkVectors = kChunk / kVector;  // of one row

// kTiles: tiles of 8 rows of A, for each module. With many of them a third pipeline stage would take so much shared
// memory that one thread block fewer fits on a multiprocessor.
template <int kModules, int kTiles>
struct Stages {
  static constexpr int kCount = kModules * kTiles <= 6 ? 3 : 2;
  static constexpr int kVectorsOfOne = (kRows + kModules * kTiles * 8) * kChunkVectors;
  static constexpr int kBytes = kCount * kVectorsOfOne * 16;
  static_assert(kBytes >= kRows * kModules * kTiles * 8 * 4, "the sums are staged where the operands were");
};

// The sums of one warp: 16 tokens, the rows of A of each module.
template <int kModules, int kTiles>
using Sums = float[kModules][kTiles][4];

// What a lane works on.
struct Lane {
  int g, t;          // row and column of the lane in a fragment
  int half;          // of the chunk: 0 low, 1 high
  int upper, lower;  // its two tokens, rows of the block
  int vector;        // its vector of a row of the chunk
};
__device__ __forceinline__ Lane this_lane() {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4, half = warp / kRowWarps, upper = warp % kRowWarps * 16 + g;
  return {g, t, half, upper, upper + 8, half * 4 + t};
}

// Index of a vector in a stage: an XOR swizzle against shared-memory bank conflicts.
__device__ int swizzled(int row, int vector) { return row * kChunkVectors + (vector ^ (row % 2 * 4)); }

// Starts the copies of one chunk. Rows and columns past the end of the operands become zeros.
template <int kModules, int kTiles>
__device__ void load_stage(uint4* stage, const LoraDownLaunch& a, std::int64_t first_row, int first_column) {
  const int vector = static_cast<int>(threadIdx.x) % kChunkVectors, column = first_column + vector * kVector;
#pragma unroll
  for (int first = 0; first < kRows; first += kThreads / kChunkVectors) {
    const int row = first + static_cast<int>(threadIdx.x) / kChunkVectors;
    const bool valid = first_row + row < a.rows && column < a.in;
    cp_async_16(stage + swizzled(row, vector), valid ? a.x + (first_row + row) * a.x_stride + column : a.x, valid);
  }
  uint4* factors = stage + kRows * kChunkVectors;
#pragma unroll
  for (int module = 0; module < kModules; ++module) {
#pragma unroll
    for (int first = 0; first < kTiles * 8; first += kThreads / kChunkVectors) {
      const int row = first + static_cast<int>(threadIdx.x) / kChunkVectors;
      if (row >= kTiles * 8) continue;
      const bool valid = row < a.rank && column < a.in;
      cp_async_16(factors + swizzled(module * kTiles * 8 + row, vector),
                  valid ? a.a[module] + static_cast<std::int64_t>(row) * a.in + column : a.a[module], valid);
    }
  }
}

// A vector of 8 columns of one token without its dropped values.
__device__ __forceinline__ uint4 kept_vector(const LoraDownLaunch& a, const uint4& values, int module,
                                             std::uint32_t row, std::uint32_t group) {
  if (a.mask.threshold == 0) return values;
  const KeptColumns kept = kept_columns(a.mask, a.module_index[module], row, group);
  return make_uint4(values.x & spread_signs(kept.word[0]), values.y & spread_signs(kept.word[1]),
                    values.z & spread_signs(kept.word[2]), values.w & spread_signs(kept.word[3]));
}

// Adds the products of one chunk to the sums.
template <int kModules, int kTiles>
__device__ __forceinline__ void multiply_chunk(const LoraDownLaunch& a, const Lane& lane, const uint4* stage, int chunk,
                                               std::uint32_t upper_row, Sums<kModules, kTiles>& sum) {
  const uint4* factors = stage + kRows * kChunkVectors;
  const uint4 high = stage[swizzled(lane.upper, lane.vector)], low = stage[swizzled(lane.lower, lane.vector)];
  const auto group = static_cast<std::uint32_t>(chunk * kChunkVectors + lane.vector);
#pragma unroll
  for (int module = 0; module < kModules; ++module) {
    const uint4 upper = kept_vector(a, high, module, upper_row, group);
    const uint4 lower = kept_vector(a, low, module, upper_row + 8, group);
    const std::uint32_t early[4] = {upper.x, lower.x, upper.y, lower.y};
    const std::uint32_t late[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 factor = factors[swizzled((module * kTiles + tile) * 8 + lane.g, lane.vector)];
      mma_m16n8k16_bf16(sum[module][tile], early, {factor.x, factor.y});
      mma_m16n8k16_bf16(sum[module][tile], late, {factor.z, factor.w});
    }
  }
}

// Adds the sums of both halves in shared memory: the high half stores its sums, then the low half adds its own to them.
// `sums` is [kRows, kModules * rank]. It ends with a barrier.
template <int kModules, int kTiles>
__device__ __forceinline__ void add_halves(const LoraDownLaunch& a, const Lane& lane, const Sums<kModules, kTiles>& sum,
                                           float* sums) {
  const int width = kModules * a.rank;
  for (int half = 1; half >= 0; --half) {
    if (lane.half == half) {
#pragma unroll
      for (int module = 0; module < kModules; ++module) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int column = tile * 8 + 2 * lane.t + i % 2;
            if (column >= a.rank) continue;
            float& to = sums[(i < 2 ? lane.upper : lane.lower) * width + module * a.rank + column];
            to = half == 1 ? sum[module][tile][i] : sum[module][tile][i] + to;
          }
        }
      }
    }
    __syncthreads();
  }
}

template <int kModules, int kTiles>
__global__ void __launch_bounds__(kThreads, 1) lora_down_kernel(const __grid_constant__ LoraDownLaunch a) {
  using S = Stages<kModules, kTiles>;
  uint4* stages = dynamic_shared<uint4>();
  const Lane lane = this_lane();
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const auto upper_row = static_cast<std::uint32_t>(first_row + lane.upper);
  const std::int64_t split = blockIdx.y, chunks = ceil_div(a.in, kChunk);
  const int first = static_cast<int>(chunks * split / kLoraDownSplits);
  const int last = static_cast<int>(chunks * (split + 1) / kLoraDownSplits);
  const auto stage_of = [&](int chunk) { return stages + (chunk - first) % S::kCount * S::kVectorsOfOne; };
  const auto load = [&](int chunk) {
    if (chunk < last) load_stage<kModules, kTiles>(stage_of(chunk), a, first_row, chunk * kChunk);
    cp_async_commit();  // an empty group as well, because the wait below counts groups
  };

  Sums<kModules, kTiles> sum = {};
  for (int chunk = first; chunk < first + S::kCount - 1; ++chunk) load(chunk);
  for (int chunk = first; chunk < last; ++chunk) {
    cp_async_wait<S::kCount - 2>();
    __syncthreads();  // all threads see the chunk, and nobody reads the stage of the previous one any more
    load(chunk + S::kCount - 1);
    multiply_chunk<kModules, kTiles>(a, lane, stage_of(chunk), chunk, upper_row, sum);
  }
  cp_async_wait<0>();
  __syncthreads();  // the stages are free

  auto* sums = reinterpret_cast<float*>(stages);
  add_halves<kModules, kTiles>(a, lane, sum, sums);
  const int width = kModules * a.rank;
  const std::int64_t rows = a.rows - first_row < kRows ? a.rows - first_row : kRows;
  float* out = a.sums + (split * a.rows + first_row) * width;
  for (int i = static_cast<int>(threadIdx.x); i < rows * width; i += kThreads) out[i] = sums[i];
}

// Adds the splits, scales and rounds; each thread writes 8 of the LoRA columns.
__global__ void __launch_bounds__(kThreads) finish_kernel(LoraDownLaunch a) {
  const int vectors = a.lora_columns / kVector, width = a.modules * a.rank;
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = index / vectors;
  if (row >= a.rows) return;
  const int column = static_cast<int>(index % vectors) * kVector;
  float value[kVector];
  for (int i = 0; i < kVector; ++i) {
    value[i] = 0;
    if (column + i >= width) continue;
    for (int split = 0; split < kLoraDownSplits; ++split) {
      value[i] += a.sums[(split * a.rows + row) * width + column + i];
    }
    value[i] *= a.mask.scale;
  }
  store_vector(value, a.x + row * a.x_stride + a.in + column);
}

template <int kModules, int kTiles>
void launch_tiles(const LoraDownLaunch& arguments, cudaStream_t stream) {
  const dim3 grid(block_count(arguments.rows, kRows), kLoraDownSplits);
  launch(SHORI_KERNEL(lora_down_kernel<kModules, kTiles>), grid, kThreads, Stages<kModules, kTiles>::kBytes, stream,
         arguments);
}

template <int kModules>
void launch_modules(const LoraDownLaunch& arguments, cudaStream_t stream) {
  if (arguments.rank <= 16) {
    launch_tiles<kModules, 2>(arguments, stream);
  } else if (arguments.rank <= 24) {
    launch_tiles<kModules, 3>(arguments, stream);
  } else if (arguments.rank <= 32) {
    launch_tiles<kModules, 4>(arguments, stream);
  } else {
    launch_tiles<kModules, 8>(arguments, stream);
  }
}

}  // namespace

void launch_lora_down(const LoraDownLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  if (arguments.modules == 1) {
    launch_modules<1>(arguments, stream);
  } else if (arguments.modules == 2) {
    launch_modules<2>(arguments, stream);
  } else {
    launch_modules<3>(arguments, stream);
  }
  const std::int64_t vectors = arguments.rows * (arguments.lora_columns / kVector);
  launch(SHORI_KERNEL(finish_kernel), block_count(vectors, kThreads), kThreads, 0, stream, arguments);
}

}  // namespace shori
