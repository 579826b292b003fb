// Gradients of LoRA factors: products over tokens. A block has 128 columns of the wide operand and one slab of tokens,
// in chunks of 32; each warp has 16 columns as the m16 side of the tensor cores, the rank is the n8 side. The wide
// operand is read once for all gradients that share its columns, and masked for each.
//
// A warp draws the masks of its own 16 tokens x 16 columns, one call a lane, and exchanges them through shared memory. If
// the caller wants them, it writes them as well.
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
constexpr int kWideVectors = kColumns / 8;     // 16-byte vectors of a row
constexpr int kWideStride = kWideVectors + 1;  // odd: the 8 rows of a matrix lie in different banks

// The columns of the narrow operand that a block needs, counted in vectors of 8.
struct Window {
  int first, vectors, stride;
};

template <int kShared>
__device__ Window window_of(const LoraGradLaunch& a, int first_gradient) {
  const int first = a.gradients[first_gradient].narrow_column / 8;
  const int last = ceil_div(a.gradients[first_gradient + kShared - 1].narrow_column + a.rank, 8);
  return {first, last - first, (last - first) | 1};
}

// Starts the copies of one chunk. Tokens from `last_token` on and columns past the end of the gradient become zeros.
__device__ void load_stage(uint4* stage, const LoraGradLaunch& a, const LoraGradient& gradient, const Window& window,
                           std::int64_t first_token, std::int64_t last_token, std::int64_t first_column) {
  const auto thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int first = 0; first < kChunk; first += kThreads / kWideVectors) {
    const int row = first + thread / kWideVectors, vector = thread % kWideVectors;
    const std::int64_t token = first_token + row, column = first_column + vector * 8;
    const bool valid = token < last_token && column < gradient.columns;
    cp_async_16(stage + row * kWideStride + vector,
                valid ? a.wide + token * a.wide_stride + gradient.first_column + column : a.wide, valid);
  }
  constexpr int kLanes = kThreads / kChunk;  // of a row
  const int row = thread / kLanes;
  uint4* narrow = stage + kChunk * kWideStride + row * window.stride;
  const std::int64_t token = first_token + row;
  const bool valid = token < last_token;
  for (int vector = thread % kLanes; vector < window.vectors; vector += kLanes) {
    cp_async_16(narrow + vector, valid ? a.narrow + token * a.narrow_stride + (window.first + vector) * 8 : a.narrow,
                valid);
  }
}

// Bits 0 and 8 of `bits` as two halves of ones or zeros.
__device__ std::uint32_t halves(std::uint32_t bits) { return ((bits & 1u) | (bits & 0x100u) << 8) * 0xffffu; }

// kShared: gradients that share the columns of the wide operand. kTiles: tiles of 8 columns of the narrow operand that the rank of one gradient touches.
// The body is one function: with its steps in functions of their own the compiler needs more registers, and spills on sm_120.
template <int kShared, int kTiles>
__global__ void __launch_bounds__(kThreads, (kShared * kTiles <= 9 ? 2 : 1))
    lora_grad_kernel(const __grid_constant__ LoraGradLaunch a) {
  // Which columns are kept, for each step and gradient: word [t][group] has a byte for each of tokens 2t, 2t + 1,
  // 2t + 8, 2t + 9 of the step, which are those of lane t in a fragment, and a bit for each of the group's 8 columns.
  SHORI_SHARED(uint2, kept, [kWarps][kSteps][kShared][4]);
  uint4* stages = dynamic_shared<uint4>();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
  const int first_gradient = static_cast<int>(blockIdx.z) * kShared;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kColumns;
  if (first_column >= a.gradients[first_gradient].columns) return;  // the whole block

  const Window window = window_of<kShared>(a, first_gradient);
  const int stage_vectors = kChunk * (kWideStride + window.stride);
  const std::int64_t slab = blockIdx.y, first_token = slab * kGradientSlab;
  const std::int64_t last_token = first_token + kGradientSlab < a.tokens ? first_token + kGradientSlab : a.tokens;
  const int chunks = static_cast<int>(ceil_div<std::int64_t>(last_token - first_token, kChunk));
  const int drawn_token = lane % 16;
  const int drawn_byte = drawn_token % 8 / 2 * 8 + lane / 16 * 4 + drawn_token / 8 * 2 + drawn_token % 2;
  const auto drawn_group = static_cast<std::uint32_t>(first_column / 8 + warp * 2 + lane / 16);
  const auto kept_groups = static_cast<std::uint32_t>(a.gradients[first_gradient].columns / 8);
  const bool masked = a.mask.threshold != 0;

  const auto load = [&](int chunk) {
    if (chunk < chunks) {
      load_stage(stages + chunk % kStages * stage_vectors, a, a.gradients[first_gradient], window,
                 first_token + chunk * kChunk, last_token, first_column);
    }
    cp_async_commit();  // an empty group as well, because the wait below counts groups
  };

  float sum[kShared][kTiles][4] = {};
  for (int chunk = 0; chunk < kStages - 1; ++chunk) load(chunk);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // all threads see the chunk, and nobody reads the stage of the previous one any more
    load(chunk + kStages - 1);
    if (masked) {
      for (int step = 0; step < kSteps; ++step) {
        for (int i = 0; i < kShared; ++i) {
          const std::int64_t token = first_token + chunk * kChunk + step * 16 + drawn_token;
          const std::uint8_t byte = kept_byte(kept_columns(a.mask, a.gradients[first_gradient + i].module_index,
                                                           static_cast<std::uint32_t>(token), drawn_group));
          reinterpret_cast<std::uint8_t*>(kept[warp][step][i])[drawn_byte] = byte;
          if (a.kept != nullptr && token < last_token && drawn_group < kept_groups) {
            a.kept[(token * a.count + first_gradient + i) * kept_groups + drawn_group] = byte;
          }
        }
      }
      __syncwarp();
    }
    const uint4* wide = stages + chunk % kStages * stage_vectors;
    const uint4* narrow = wide + kChunk * kWideStride;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t columns[4];  // transposed: columns g and g + 8, tokens of lane t
      ldmatrix_x4_trans(columns, wide + (step * 16 + lane / 16 * 8 + lane % 8) * kWideStride + warp * 2 + lane / 8 % 2);
#pragma unroll
      for (int i = 0; i < kShared; ++i) {
        std::uint32_t left[4] = {columns[0], columns[1], columns[2], columns[3]};
        if (masked) {
          const uint2 bytes = kept[warp][step][i][t];
          const std::uint32_t low = bytes.x >> bit_of_column(g), high = bytes.y >> bit_of_column(g);
          left[0] &= halves(low);
          left[1] &= halves(high);
          left[2] &= halves(low >> 16);
          left[3] &= halves(high >> 16);
        }
        const int first_vector = a.gradients[first_gradient + i].narrow_column / 8 - window.first;
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
  }
  cp_async_wait<0>();

#pragma unroll
  for (int i = 0; i < kShared; ++i) {
    const LoraGradient& gradient = a.gradients[first_gradient + i];
    float* sums = gradient.sums + slab * gradient.columns * a.rank;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::int64_t column = first_column + warp * 16 + g + j / 2 * 8;
        const int row = tile * 8 + 2 * t + j % 2 - gradient.narrow_column % 8;
        if (row < 0 || row >= a.rank || column >= gradient.columns) continue;
        sums[column * a.column_stride + row * a.rank_stride] = sum[i][tile][j];
      }
    }
  }
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
    const int vectors = ceil_div(last.narrow_column + arguments.rank, 8) - arguments.gradients[i].narrow_column / 8;
    max_vectors = vectors > max_vectors ? vectors : max_vectors;
  }
  const auto bytes = static_cast<std::size_t>(kStages * kChunk * (kWideStride + (max_vectors | 1))) * sizeof(uint4);
  launch(SHORI_KERNEL(lora_grad_kernel<kShared, kTiles>), grid, kThreads, bytes, stream, arguments);
}

template <int kShared>
void launch_shared(const LoraGradLaunch& arguments, std::int64_t columns, cudaStream_t stream) {
  int tiles = 0;
  for (int i = 0; i < arguments.count; ++i) {
    const int needed = ceil_div(arguments.gradients[i].narrow_column % 8 + arguments.rank, 8);
    tiles = needed > tiles ? needed : tiles;
  }
  const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(columns, kColumns)),
                  static_cast<unsigned>(ceil_div(arguments.tokens, kGradientSlab)),
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
  const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(columns * arguments.rank, kThreads)),
                  static_cast<unsigned>(arguments.count));
  launch(SHORI_KERNEL(add_slabs_kernel), grid, kThreads, 0, stream, arguments);
}

}  // namespace shori
