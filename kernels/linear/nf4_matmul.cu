// Product with an NF4 weight for few tokens: the weight is decoded on its way to the tensor cores.
//
// Weights are the m16 side of the products and tokens the n8 side, so 8 tokens waste nothing. A thread block works on 64
// weight rows and one split of the columns, in chunks of 64 columns, which have one scale per row.
//
// The product does not change if both operands permute its k in the same way. Inside 32 columns, lane t of a row holds
// columns 8t .. 8t + 7, so its 4 bytes of codes become two registers of two products and it reads its tokens by one
// 16-byte load.
#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_matmul_launch.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kTileRows = 16 * kWarps;
constexpr int kTileK = kNf4BlockSize;
constexpr int kRowVectors = kTileK / kVector;  // of a token's row in a chunk
constexpr int kCodeBytes = kTileK / 2;         // of a weight row in a chunk
constexpr int kSumStride = kTileRows + 4;      // the 8 x 4 lanes that store sums use 32 different banks

template <int kTokens>
struct Tile {
  static constexpr int kStages = kTokens < 128 ? 3 : 2;  // with two stages, two blocks of 128 tokens fit on an SM
  static constexpr int kTokenBytes = kTokens * kTileK * 2;
  static constexpr int kStageBytes = kTokenBytes + kTileRows * kCodeBytes;
  static constexpr int kBytes = kStages * kStageBytes;
  static_assert(kBytes >= kTokens * kSumStride * 4, "the sums are staged where the operands were");
};

// Index of a token's vector and offset of 16 bytes of codes in a stage: XOR swizzles against shared-memory bank
// conflicts.
__device__ int token_vector(int token, int vector) { return token * kRowVectors + (vector ^ (token % 2 * 4)); }
__device__ int code_offset(int row, int half) { return row * kCodeBytes + (half ^ (row / 4 % 2)) * 16; }

template <int kTokens>
__device__ void load_stage(std::byte* stage, const Nf4MatmulLaunch& a, int first_row, int k) {
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * kRowVectors; i += kThreads) {
    const int token = i / kRowVectors, vector = i % kRowVectors;
    const bool valid = token < a.tokens;
    cp_async_16(stage + token_vector(token, vector) * 16, valid ? a.x + token * a.x_stride + k + vector * kVector : a.x,
                valid);
  }
  std::byte* codes = stage + Tile<kTokens>::kTokenBytes;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * 2; i += kThreads) {
    const int row = i / 2, half = i % 2;
    const bool valid = first_row + row < a.out;
    const std::int64_t from = (static_cast<std::int64_t>(first_row + row) * a.in + k) / 2 + half * 16;
    cp_async_16(codes + code_offset(row, half), valid ? a.codes + from : a.codes, valid);
  }
}

__device__ float scale_of(const Nf4MatmulLaunch& a, int row, int k) {
  if (row >= a.out) return 0;
  const std::int64_t block = (static_cast<std::int64_t>(row) * a.in + k) / kNf4BlockSize;
  if (a.scales != nullptr) return __ldg(a.scales + block);
  return nf4_scale(__ldg(a.map + __ldg(a.absmax + block)), __ldg(a.absmax2 + block / kNf4GroupSize), a.offset);
}

// Byte `index` of the codes as one register of a fragment.
__device__ std::uint32_t decode_pair(unsigned codes, int index, float scale, const float (&level)[16][32], int lane) {
  const unsigned byte = codes >> (index * 8);
  return pack_bf16(level[byte >> 4 & 15u][lane] * scale, level[byte & 15u][lane] * scale);
}

template <int kTokens>
__global__ void __launch_bounds__(kThreads, 1) nf4_matmul_kernel(Nf4MatmulLaunch a) {
  using T = Tile<kTokens>;
  SHORI_SHARED(float, level, [16][32]);  // one copy per lane, so that no two lanes meet in one bank
  std::byte* stages = dynamic_shared<std::byte>();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
  const int first_row = static_cast<int>(blockIdx.x) * kTileRows, local_row = warp * 16 + g;
  const int upper_row = first_row + local_row, lower_row = upper_row + 8;
  const int chunks = a.in / kTileK, split = static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(static_cast<std::int64_t>(chunks) * split / a.splits);
  const int last = static_cast<int>(static_cast<std::int64_t>(chunks) * (split + 1) / a.splits);
  for (int i = static_cast<int>(threadIdx.x); i < 16 * 32; i += kThreads) level[i / 32][i % 32] = nf4_level(i / 32);

  float sum[kTokens / 8][4] = {};
  for (int chunk = first; chunk < first + T::kStages - 1; ++chunk) {
    if (chunk < last) load_stage<kTokens>(stages + (chunk - first) * T::kStageBytes, a, first_row, chunk * kTileK);
    cp_async_commit();  // an empty group as well, because the wait below counts groups
  }
  float next_upper = scale_of(a, upper_row, first * kTileK), next_lower = scale_of(a, lower_row, first * kTileK);
  for (int chunk = first; chunk < last; ++chunk) {
    cp_async_wait<T::kStages - 2>();
    __syncthreads();  // all threads see the chunk, and nobody reads the stage of the previous one any more
    const int ahead = chunk + T::kStages - 1;
    if (ahead < last) {
      load_stage<kTokens>(stages + (ahead - first) % T::kStages * T::kStageBytes, a, first_row, ahead * kTileK);
    }
    cp_async_commit();
    const float upper_scale = next_upper, lower_scale = next_lower;
    if (chunk + 1 < last) {
      next_upper = scale_of(a, upper_row, (chunk + 1) * kTileK);
      next_lower = scale_of(a, lower_row, (chunk + 1) * kTileK);
    }
    const std::byte* stage = stages + (chunk - first) % T::kStages * T::kStageBytes;
    const std::byte* codes = stage + T::kTokenBytes;
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // 32 columns
      const unsigned upper = *reinterpret_cast<const unsigned*>(codes + code_offset(local_row, half) + 4 * t);
      const unsigned lower = *reinterpret_cast<const unsigned*>(codes + code_offset(local_row + 8, half) + 4 * t);
      std::uint32_t weights[2][4];
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        weights[step][0] = decode_pair(upper, 2 * step, upper_scale, level, lane);
        weights[step][1] = decode_pair(lower, 2 * step, lower_scale, level, lane);
        weights[step][2] = decode_pair(upper, 2 * step + 1, upper_scale, level, lane);
        weights[step][3] = decode_pair(lower, 2 * step + 1, lower_scale, level, lane);
      }
#pragma unroll
      for (int group = 0; group < kTokens / 8; ++group) {
        const uint4 tokens = reinterpret_cast<const uint4*>(stage)[token_vector(group * 8 + g, half * 4 + t)];
        mma_m16n8k16_bf16(sum[group], weights[0], {tokens.x, tokens.y});
        mma_m16n8k16_bf16(sum[group], weights[1], {tokens.z, tokens.w});
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();  // the stages are free

  // The sums pass through shared memory, so that neighbouring rows are stored by one access.
  auto* staged = reinterpret_cast<float*>(stages);
#pragma unroll
  for (int group = 0; group < kTokens / 8; ++group) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      staged[(group * 8 + 2 * t + i % 2) * kSumStride + local_row + i / 2 * 8] = sum[group][i];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * (kTileRows / 8); i += kThreads) {
    const int token = i / (kTileRows / 8), row = i % (kTileRows / 8) * 8;
    if (token >= a.tokens || first_row + row >= a.out) continue;
    const float* from = staged + token * kSumStride + row;
    if (a.splits == 1) {
      float value[kVector];
      for (int j = 0; j < kVector; ++j) value[j] = from[j];
      store_vector(value, a.y + token * a.y_stride + first_row + row);
    } else {
      float* to = a.partials + (static_cast<std::int64_t>(split) * a.tokens + token) * a.out + first_row + row;
      for (int j = 0; j < 8; j += 4) {
        *reinterpret_cast<float4*>(to + j) = *reinterpret_cast<const float4*>(from + j);
      }
    }
  }
}

// y = sum of the partials in order, rounded; each thread computes 8 columns.
__global__ void __launch_bounds__(kThreads) add_partials_kernel(Nf4MatmulLaunch a) {
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t size = static_cast<std::int64_t>(a.tokens) * a.out;
  if (vector * kVector >= size) return;
  float value[kVector] = {};
  for (int split = 0; split < a.splits; ++split) {
    const auto* from = reinterpret_cast<const float4*>(a.partials + split * size + vector * kVector);
    const float4 low = from[0], high = from[1];
    const float partial[kVector] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    for (int i = 0; i < kVector; ++i) value[i] += partial[i];
  }
  const std::int64_t token = vector * kVector / a.out, row = vector * kVector % a.out;
  store_vector(value, a.y + token * a.y_stride + row);
}

template <int kTokens>
void launch_tile(const Nf4MatmulLaunch& arguments, cudaStream_t stream) {
  const dim3 grid(block_count(arguments.out, kTileRows), static_cast<unsigned>(arguments.splits));
  launch(SHORI_KERNEL(nf4_matmul_kernel<kTokens>), grid, kThreads, Tile<kTokens>::kBytes, stream, arguments);
}

}  // namespace

void launch_nf4_matmul(const Nf4MatmulLaunch& arguments, cudaStream_t stream) {
  if (arguments.tokens == 0) return;
  if (arguments.tokens <= 8) {
    launch_tile<8>(arguments, stream);
  } else if (arguments.tokens <= 16) {
    launch_tile<16>(arguments, stream);
  } else if (arguments.tokens <= 32) {
    launch_tile<32>(arguments, stream);
  } else if (arguments.tokens <= 64) {
    launch_tile<64>(arguments, stream);
  } else {
    launch_tile<128>(arguments, stream);
  }
  if (arguments.splits == 1) return;
  const std::int64_t vectors = static_cast<std::int64_t>(arguments.tokens) * arguments.out / kVector;
  launch(SHORI_KERNEL(add_partials_kernel), block_count(vectors, kThreads), kThreads, 0, stream, arguments);
}

}  // namespace shori
