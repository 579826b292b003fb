// Attention over the cache: one block per new token and query head. Each warp takes every fourth chunk of 4 keys, its lanes
// hold 8 columns each, and it keeps a running maximum; the sums of the four warps are joined at the end.
#include <cmath>

#include "kernels/attention/cached_attention_launch.h"
#include "kernels/common/cuda_common.cuh"

namespace shori {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = 4;
constexpr int kMaxDim = 32 * kVector;

// Keys and values of each new token, which follow its queries, to their rows of the cache.
__global__ void __launch_bounds__(kThreads) store_keys_kernel(CachedAttentionLaunch a) {
  const int token = static_cast<int>(blockIdx.x), vectors_of_head = a.dim / kVector;
  const Bf16* row = a.qkv + token * a.qkv_stride + a.heads * a.dim;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * a.kv_heads * vectors_of_head; i += kThreads) {
    const int head = i / vectors_of_head, column = i % vectors_of_head * kVector;
    Bf16* part = head < a.kv_heads ? a.keys : a.values;
    Bf16* to = part + ((head % a.kv_heads) * a.positions + a.first + token) * a.dim + column;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(row + head * a.dim + column);
  }
}

// The sums of one warp over its keys: sum of e^(score - largest) and of that times the values.
struct WarpSums {
  float largest = -INFINITY, total = 0;
  float result[kVector] = {};
};

// Keys key .. key + 3 up to `last`.
__device__ __forceinline__ void add_keys(const Bf16* keys, const Bf16* values, int dim, int key, int last, bool holds,
                                         const float (&query)[kVector], WarpSums& sums) {
  float score[kKeys], highest = sums.largest;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    float product = 0;
    if (holds && key + i <= last) {
      float value[kVector];
      load_vector(keys + static_cast<std::int64_t>(key + i) * dim, value);
      for (int j = 0; j < kVector; ++j) product += query[j] * value[j];
    }
    product = warp_sum(product);
    score[i] = key + i <= last ? product : -INFINITY;
    highest = fmaxf(highest, score[i]);
  }
  const float rescale = expf(sums.largest - highest);
  sums.largest = highest;
  sums.total *= rescale;
  for (float& value : sums.result) value *= rescale;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    if (key + i > last) continue;
    const float weight = expf(score[i] - highest);
    sums.total += weight;
    if (!holds) continue;
    float value[kVector];
    load_vector(values + static_cast<std::int64_t>(key + i) * dim, value);
    for (int j = 0; j < kVector; ++j) sums.result[j] += weight * value[j];
  }
}

__global__ void __launch_bounds__(kThreads) cached_attention_kernel(CachedAttentionLaunch a) {
  SHORI_SHARED(float, result, [kWarps][kMaxDim]);
  SHORI_SHARED(float, largest, [kWarps]);
  SHORI_SHARED(float, total, [kWarps]);
  const int token = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int last = a.first + token, oldest = a.window > 0 && last >= a.window ? last - a.window + 1 : 0;
  const bool holds = lane * kVector < a.dim;
  const int column = holds ? lane * kVector : 0;
  const std::int64_t rows = head / (a.heads / a.kv_heads) * a.positions * a.dim + column;
  const float scale = 1.0f / sqrtf(static_cast<float>(a.dim));
  float query[kVector];
  load_vector(a.qkv + token * a.qkv_stride + head * a.dim + column, query);
  for (float& value : query) value *= scale;
  WarpSums sums;
  for (int key = oldest + warp * kKeys; key <= last; key += kWarps * kKeys) {
    add_keys(a.keys + rows, a.values + rows, a.dim, key, last, holds, query, sums);
  }
  if (lane == 0) {
    largest[warp] = sums.largest;
    total[warp] = sums.total;
  }
  if (holds) {
    for (int j = 0; j < kVector; ++j) result[warp][column + j] = sums.result[j];
  }
  __syncthreads();
  if (warp != 0 || !holds) return;
  float highest = largest[0];  // the first warp has a key: the oldest
  for (int w = 1; w < kWarps; ++w) highest = fmaxf(highest, largest[w]);
  float sum = 0, value[kVector] = {};
  for (int w = 0; w < kWarps; ++w) {
    const float rescale = expf(largest[w] - highest);
    sum += rescale * total[w];
    for (int j = 0; j < kVector; ++j) value[j] += rescale * result[w][column + j];
  }
  for (float& element : value) element /= sum;
  store_vector(value, a.out + token * a.out_stride + head * a.dim + column);
}

}  // namespace

void launch_cached_attention(const CachedAttentionLaunch& arguments, cudaStream_t stream) {
  if (arguments.tokens == 0) return;
  const auto tokens = static_cast<unsigned>(arguments.tokens);
  launch(SHORI_KERNEL(store_keys_kernel), tokens, kThreads, 0, stream, arguments);
  launch(SHORI_KERNEL(cached_attention_kernel), dim3(tokens, static_cast<unsigned>(arguments.heads)), kThreads, 0,
         stream, arguments);
}

}  // namespace shori
