// Gradients of LoRA factors: products over tokens, by tensor cores.
//
// A thread block works on 128 columns of the wide operand (x or dy) and one slab of tokens, in chunks of 32 tokens. Each
// warp has 16 of the columns as the m16 side of the products; the rank is the n8 side. The wide operand is read once for
// all gradients that share its columns, and masked for each of them.
//
// A warp draws the masks of its own 16 tokens x 16 columns, one Philox call per lane, and exchanges them through shared
// memory.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/lora_grad_launch.h"

namespace shori {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kColumns = 16 * kWarps;
constexpr int kChunk = 32;  // tokens
constexpr int kSteps = kChunk / 16;
constexpr int kStages = 3;
constexpr int kWideVectors = kColumns / kVector;  // of one row
constexpr int kWideStride = kWideVectors + 1;     // odd, so that the 8 rows of a matrix lie in different banks

// The columns of the narrow operand that a block needs, counted in vectors.
struct Window {
  int first, vectors, stride;  // stride: odd, like kWideStride
};

template <int kShared>
__device__ Window window_of(const LoraGradLaunch& a, int first_gradient) {
  const int first = a.gradients[first_gradient].narrow_column / kVector;
  const int last = ceil_div(a.gradients[first_gradient + kShared - 1].narrow_column + a.rank, kVector);
  return {first, last - first, (last - first) | 1};
}

// Starts the copies of one chunk. Tokens from `last_token` on and columns past the end of the gradient become zeros.
__device__ void load_stage(uint4* stage, const LoraGradLaunch& a, const LoraGradient& gradient, const Window& window,
                           std::int64_t first_token, std::int64_t last_token, std::int64_t first_column) {
  const auto thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int first = 0; first < kChunk; first += kThreads / kWideVectors) {
    const int row = first + thread / kWideVectors, vector = thread % kWideVectors;
    const std::int64_t token = first_token + row, column = first_column + vector * kVector;
    const bool valid = token < last_token && column < gradient.columns;
    cp_async_16(stage + row * kWideStride + vector,
                valid ? a.wide + token * a.wide_stride + gradient.first_column + column : a.wide, valid);
  }
  constexpr int kThreadsOfRow = kThreads / kChunk;
  const int row = thread / kThreadsOfRow;
  uint4* narrow = stage + kChunk * kWideStride + row * window.stride;
  const std::int64_t token = first_token + row;
  const bool valid = token < last_token;
  for (int vector = thread % kThreadsOfRow; vector < window.vectors; vector += kThreadsOfRow) {
    cp_async_16(narrow + vector,
                valid ? a.narrow + token * a.narrow_stride + (window.first + vector) * kVector : a.narrow, valid);
  }
}

// The masks of one warp for a chunk. Word [step][gradient][t] has a byte for each of the tokens 2t, 2t + 1, 2t + 8 and
// 2t + 9 of the step, those that lane t holds in a fragment, for each of the two groups of 8 columns; a byte has a bit
// for each column of its group.
template <int kShared>
using WarpMasks = uint2[kSteps][kShared][4];

// Draws the masks of the chunk that begins at `first_token`. Each lane draws one token of each step and one group of 8
// columns.
template <int kShared>
__device__ __forceinline__ void draw_masks(const LoraGradLaunch& a, int first_gradient, std::int64_t first_token,
                                           std::int64_t first_column, WarpMasks<kShared>& kept) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int token = lane % 16, side = lane / 16;
  const int byte = token % 8 / 2 * 8 + side * 4 + token / 8 * 2 + token % 2;
  const auto group = static_cast<std::uint32_t>(first_column / 8 + warp * 2 + side);
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kShared; ++i) {
      reinterpret_cast<std::uint8_t*>(kept[step][i])[byte] =
          static_cast<std::uint8_t>(kept_columns(a.mask, a.gradients[first_gradient + i].module_index,
                                                 static_cast<std::uint32_t>(first_token + step * 16 + token), group));
    }
  }
  __syncwarp();
}

// Bits 0 and 8 of `bits` as two halves of ones or zeros.
__device__ std::uint32_t halves(std::uint32_t bits) { return ((bits & 1u) | (bits & 0x100u) << 8) * 0xffffu; }

// Clears what is dropped in a transposed fragment of the wide operand: columns g and g + 8, tokens of lane t.
__device__ __forceinline__ void apply_mask(uint2 bytes, int g, std::uint32_t (&fragment)[4]) {
  const std::uint32_t low = bytes.x >> g, high = bytes.y >> g;
  fragment[0] &= halves(low);
  fragment[1] &= halves(high);
  fragment[2] &= halves(low >> 16);
  fragment[3] &= halves(high >> 16);
}

// The sums of one warp: its 16 columns x tiles of 8 columns of the narrow operand, for each gradient.
template <int kShared, int kTiles>
using Sums = float[kShared][kTiles][4];

// Adds the products of the 16 tokens of one step to the sums.
template <int kShared, int kTiles>
__device__ __forceinline__ void multiply_step(const LoraGradLaunch& a, int first_gradient, const Window& window,
                                              const uint4* stage, int step, const WarpMasks<kShared>& kept,
                                              Sums<kShared, kTiles>& sum) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
  const uint4* narrow = stage + kChunk * kWideStride;
  std::uint32_t columns[4];
  ldmatrix_x4_trans(columns, stage + (step * 16 + lane / 16 * 8 + lane % 8) * kWideStride + warp * 2 + lane / 8 % 2);
#pragma unroll
  for (int i = 0; i < kShared; ++i) {
    std::uint32_t left[4] = {columns[0], columns[1], columns[2], columns[3]};
    if (a.mask.threshold != 0) apply_mask(kept[step][i][t], g, left);
    const int first_vector = a.gradients[first_gradient + i].narrow_column / kVector - window.first;
#pragma unroll
    for (int tile = 0; tile < kTiles; tile += 2) {
      std::uint32_t right[4];
      int vector = first_vector + tile + lane / 16;
      if (vector >= window.vectors) vector = window.vectors - 1;  // a tile past the rank, whose sums are not stored
      ldmatrix_x4_trans(right, narrow + (step * 16 + lane % 16) * window.stride + vector);
      mma_m16n8k16_bf16(sum[i][tile], left, {right[0], right[1]});
      if (tile + 1 < kTiles) mma_m16n8k16_bf16(sum[i][tile + 1], left, {right[2], right[3]});
    }
  }
}

template <int kShared, int kTiles>
__device__ __forceinline__ void store_sums(const LoraGradLaunch& a, int first_gradient, std::int64_t slab,
                                           std::int64_t first_column, const Sums<kShared, kTiles>& sum) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < kShared; ++i) {
    const LoraGradient& gradient = a.gradients[first_gradient + i];
    float* sums = gradient.sums + slab * gradient.columns * a.rank;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::int64_t column = first_column + warp * 16 + g + j / 2 * 8;
        const int row = tile * 8 + 2 * t + j % 2 - gradient.narrow_column % kVector;
        if (row < 0 || row >= a.rank || column >= gradient.columns) continue;
        sums[column * a.column_stride + row * a.rank_stride] = sum[i][tile][j];
      }
    }
  }
}

// kShared: gradients that share the columns of the wide operand. kTiles: tiles of 8 columns of the narrow operand that
// the rank of one gradient touches.
template <int kShared, int kTiles>
__global__ void __launch_bounds__(kThreads) lora_grad_kernel(LoraGradLaunch a) {
  SHORI_SHARED(WarpMasks<kShared>, kept, [kWarps]);
  uint4* stages = dynamic_shared<uint4>();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int first_gradient = static_cast<int>(blockIdx.z) * kShared;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kColumns;
  if (first_column >= a.gradients[first_gradient].columns) return;  // the whole block

  const Window window = window_of<kShared>(a, first_gradient);
  const int stage_vectors = kChunk * (kWideStride + window.stride);
  const std::int64_t slab = blockIdx.y, first_token = slab * kGradientSlab;
  const std::int64_t last_token = first_token + kGradientSlab < a.tokens ? first_token + kGradientSlab : a.tokens;
  const int chunks = static_cast<int>(ceil_div<std::int64_t>(last_token - first_token, kChunk));
  const auto load = [&](int chunk) {
    if (chunk < chunks) {
      load_stage(stages + chunk % kStages * stage_vectors, a, a.gradients[first_gradient], window,
                 first_token + chunk * kChunk, last_token, first_column);
    }
    cp_async_commit();  // an empty group as well, because the wait below counts groups
  };

  Sums<kShared, kTiles> sum = {};
  for (int chunk = 0; chunk < kStages - 1; ++chunk) load(chunk);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // all threads see the chunk, and nobody reads the stage of the previous one any more
    load(chunk + kStages - 1);
    if (a.mask.threshold != 0) {
      draw_masks<kShared>(a, first_gradient, first_token + chunk * kChunk, first_column, kept[warp]);
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      multiply_step<kShared, kTiles>(a, first_gradient, window, stages + chunk % kStages * stage_vectors, step,
                                     kept[warp], sum);
    }
  }
  cp_async_wait<0>();
  store_sums<kShared, kTiles>(a, first_gradient, slab, first_column, sum);
}

// Adds the slabs in order; each thread adds one element of a gradient.
__global__ void __launch_bounds__(kThreads) add_slabs_kernel(LoraGradLaunch a) {
  const LoraGradient& gradient = a.gradients[blockIdx.y];
  const std::int64_t element = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t size = gradient.columns * a.rank;
  if (element >= size) return;
  const int slabs = static_cast<int>(ceil_div(a.tokens, kGradientSlab));
  float value = gradient.gradient[element];
#pragma unroll 4
  for (int slab = 0; slab < slabs; ++slab) value += a.scale * gradient.sums[slab * size + element];
  gradient.gradient[element] = value;
}

template <int kShared, int kTiles>
void launch_tiles(const LoraGradLaunch& arguments, const dim3& grid, cudaStream_t stream) {
  int max_vectors = 0;
  for (int i = 0; i < arguments.count; i += kShared) {
    const LoraGradient& last = arguments.gradients[i + kShared - 1];
    const int first_vector = arguments.gradients[i].narrow_column / kVector;
    const int vectors = ceil_div(last.narrow_column + arguments.rank, kVector) - first_vector;
    max_vectors = vectors > max_vectors ? vectors : max_vectors;
  }
  const auto bytes = static_cast<std::size_t>(kStages * kChunk * (kWideStride + (max_vectors | 1))) * sizeof(uint4);
  launch(lora_grad_kernel<kShared, kTiles>, grid, kThreads, bytes, stream, arguments);
}

template <int kShared>
void launch_shared(const LoraGradLaunch& arguments, std::int64_t columns, cudaStream_t stream) {
  int tiles = 0;
  for (int i = 0; i < arguments.count; ++i) {
    const int needed = ceil_div(arguments.gradients[i].narrow_column % kVector + arguments.rank, kVector);
    tiles = needed > tiles ? needed : tiles;
  }
  const dim3 grid(block_count(columns, kColumns), block_count(arguments.tokens, kGradientSlab),
                  static_cast<unsigned>(arguments.count / kShared));
  if (tiles <= 2) {
    launch_tiles<kShared, 2>(arguments, grid, stream);
  } else if (tiles == 3) {
    launch_tiles<kShared, 3>(arguments, grid, stream);
  } else if (tiles == 4) {
    launch_tiles<kShared, 4>(arguments, grid, stream);
  } else {
    launch_tiles<kShared, 9>(arguments, grid, stream);
  }
}

}  // namespace

void launch_lora_grad(const LoraGradLaunch& arguments, cudaStream_t stream) {
  if (arguments.tokens == 0) return;
  std::int64_t columns = 0;
  for (int i = 0; i < arguments.count; ++i) {
    columns = arguments.gradients[i].columns > columns ? arguments.gradients[i].columns : columns;
  }
  if (!arguments.shared_columns || arguments.count == 1) {
    launch_shared<1>(arguments, columns, stream);
  } else if (arguments.count == 2) {
    launch_shared<2>(arguments, columns, stream);
  } else {
    launch_shared<3>(arguments, columns, stream);
  }
  const dim3 grid(block_count(columns * arguments.rank, kThreads), static_cast<unsigned>(arguments.count));
  launch(add_slabs_kernel, grid, kThreads, 0, stream, arguments);
}

}  // namespace shori
