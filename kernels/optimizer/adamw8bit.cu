// AdamW with 8-bit moments, all tensors in one launch. A warp updates 256 elements, 8 per lane in two quads of 4, so every
// access of the warp covers contiguous memory. A quantization block is the share of one warp, or of a whole thread block.
#include <algorithm>
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/common/tensor_table.cuh"
#include "kernels/optimizer/adamw8bit_launch.h"
#include "shori/quant/blockwise8.h"

namespace shori {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kQuad = 4, kQuads = 2;
constexpr int kWarpElements = 32 * kQuad * kQuads;
static_assert(kWarps * kWarpElements == kAdamChunk);
constexpr std::int64_t kMaxBlocks = 1024;  // fills any card, and each block updates *largest only once

// 4 elements at an index that is a multiple of 4, or fewer at the end of the tensor.
struct Range {
  std::int64_t index;
  int count;  // 0..4
};

template <class T>
struct alignas(sizeof(T) * kQuad) Quad {
  T value[kQuad];
};

template <class T>
__device__ Quad<T> load(const T* data, Range range) {
  if (range.count == kQuad) return *reinterpret_cast<const Quad<T>*>(data + range.index);
  Quad<T> result = {};
  for (int i = 0; i < kQuad; ++i) {
    if (i < range.count) result.value[i] = data[range.index + i];
  }
  return result;
}
template <class T>
__device__ void store(T* data, Range range, const Quad<T>& quad) {
  if (range.count == kQuad) {
    *reinterpret_cast<Quad<T>*>(data + range.index) = quad;
    return;
  }
  for (int i = 0; i < kQuad; ++i) {
    if (i < range.count) data[range.index + i] = quad.value[i];
  }
}

__device__ void store_copy(const AdamEntry& tensor, Range range, const Quad<float>& parameter) {
  Quad<float> scaled;
  for (int i = 0; i < kQuad; ++i) scaled.value[i] = tensor.copy_scale * parameter.value[i];
  if (tensor.fp32_copy != nullptr) store(tensor.fp32_copy, range, scaled);
  if (tensor.bf16_copy == nullptr) return;
  Quad<Bf16> rounded;
  for (int i = 0; i < kQuad; ++i) rounded.value[i] = to_bf16(scaled.value[i]);
  store(tensor.bf16_copy, range, rounded);
}

// The largest |update| that a thread has seen, as a key of launch_adamw8bit(). NaN is ignored.
struct Largest {
  unsigned long long key = 0;
  __device__ void see(float size, std::int64_t position) {
    if (!(size > 0.0f)) return;
    const auto seen = static_cast<unsigned long long>(std::bit_cast<std::uint32_t>(size)) << 32 |
                      (0xffffffffu - static_cast<std::uint32_t>(position));
    if (seen > key) key = seen;
  }
};

// Updates elements whose moments are fp32.
__device__ void update_fp32(const AdamEntry& tensor, Range range, std::int64_t position, Largest& largest) {
  Quad<float> parameter = load(tensor.parameter, range), m = load(tensor.m, range), v = load(tensor.v, range);
  const Quad<float> gradient = load(tensor.gradient, range);
  for (int i = 0; i < kQuad; ++i) {
    if (i >= range.count) continue;
    const AdamMoments moments = fresh_moments_fp32(tensor.factors, m.value[i], v.value[i], gradient.value[i]);
    largest.see(move_parameter(tensor.factors, moments, parameter.value[i]), position + i);
    m.value[i] = moments.m;
    v.value[i] = moments.v;
  }
  store(tensor.parameter, range, parameter);
  store(tensor.m, range, m);
  store(tensor.v, range, v);
  store_copy(tensor, range, parameter);
}

// Decodes the moments, updates the parameter, and leaves the fresh moments in m and v.
__device__ void update_8bit(const AdamEntry& tensor, Range range, std::int64_t position, float old_m, float old_v,
                            const float* signed_map, const float* unsigned_map, float (&m)[kQuad], float (&v)[kQuad],
                            Largest& largest) {
  Quad<float> parameter = load(tensor.parameter, range);
  const Quad<float> gradient = load(tensor.gradient, range);
  const Quad<std::uint8_t> m_codes = load(tensor.m_codes, range), v_codes = load(tensor.v_codes, range);
  for (int i = 0; i < kQuad; ++i) {
    m[i] = v[i] = 0.0f;
    if (i >= range.count || !std::isfinite(gradient.value[i])) continue;
    const AdamMoments moments = fresh_moments(tensor.factors, signed_map[m_codes.value[i]] * old_m,
                                              unsigned_map[v_codes.value[i]] * old_v, gradient.value[i]);
    largest.see(move_parameter(tensor.factors, moments, parameter.value[i]), position + i);
    m[i] = moments.m;
    v[i] = moments.v;
  }
  store(tensor.parameter, range, parameter);
  store_copy(tensor, range, parameter);
}

__device__ void store_codes(const AdamEntry& tensor, Range range, const float* signed_map, const float* unsigned_map,
                            const float (&m)[kQuad], const float (&v)[kQuad], float m_absmax, float v_absmax) {
  Quad<std::uint8_t> m_codes, v_codes;
  for (int i = 0; i < kQuad; ++i) {
    const bool zeroed = tensor.factors.guard && v[i] == 0.0f;
    m_codes.value[i] =
        zeroed ? kZeroCodeM : with_sign_of(signed_map, nearest_in_map(signed_map, m[i] / m_absmax), m[i]);
    v_codes.value[i] = zeroed ? kZeroCodeV : nearest_in_map(unsigned_map, v[i] / v_absmax);
  }
  store(tensor.m_codes, range, m_codes);
  store(tensor.v_codes, range, v_codes);
}

// The maximum over the elements of one quantization block: those of a warp or, if kWide, of the thread block. `partial` has
// 32 entries.
template <bool kWide>
__device__ float quantization_max(float value, float* partial) {
  return kWide ? block_max(value, partial) : warp_max(value);
}

template <bool kWide>
__global__ void __launch_bounds__(kThreads, 1)
    adamw8bit_kernel(const AdamEntry* table, int entries, std::int64_t chunks, const float* signed_table,
                     const float* unsigned_table, unsigned long long* largest_of_all) {
  SHORI_SHARED(float, signed_map, [kMapSize]);
  SHORI_SHARED(float, unsigned_map, [kMapSize]);
  SHORI_SHARED(float, partial, [2][32]);
  SHORI_SHARED(unsigned long long, keys, [kWarps]);
  constexpr std::int64_t kBlockElements = kWide ? kAdamChunk : kWarpElements;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  static_assert(kThreads == kMapSize);
  signed_map[thread] = signed_table[thread];
  unsigned_map[thread] = unsigned_table[thread];
  Largest largest;
  for (std::int64_t chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
    __syncthreads();  // all threads see the maps, and `partial` is free again
    const AdamEntry& tensor = table[entry_of_chunk(table, entries, chunk)];
    const std::int64_t first = (chunk - tensor.first) * kAdamChunk, warp_first = first + warp * kWarpElements;
    const auto range = [&](int quad) {
      const std::int64_t index = warp_first + (quad * 32 + lane) * kQuad, left = tensor.count - index;
      return Range{index, static_cast<int>(left <= 0 ? 0 : left < kQuad ? left : kQuad)};
    };
    const auto position = [&](int quad) { return chunk * kAdamChunk + (range(quad).index - first); };
    if (tensor.m_codes == nullptr) {
      for (int i = 0; i < kQuads; ++i) update_fp32(tensor, range(i), position(i), largest);
      continue;
    }
    const std::int64_t block_first = kWide ? first : warp_first, block = block_first / kBlockElements;
    const bool exists = block_first < tensor.count;
    const float old_m = exists ? tensor.m_absmax[block] : 0.0f, old_v = exists ? tensor.v_absmax[block] : 0.0f;
    float m[kQuads][kQuad], v[kQuads][kQuad];
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      update_8bit(tensor, range(i), position(i), old_m, old_v, signed_map, unsigned_map, m[i], v[i], largest);
    }
    // In bitsandbytes' kernel, lanes past the end of a tensor hold code 128 and a gradient of 0.
    float m_absmax =
        tensor.count - block_first < kBlockElements ? fabsf(signed_map[128] * old_m * tensor.factors.beta1) : 0.0f;
    float v_absmax = 0.0f;
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      for (int j = 0; j < kQuad; ++j) {
        if (fabsf(m[i][j]) > m_absmax) m_absmax = fabsf(m[i][j]);
        if (fabsf(v[i][j]) > v_absmax) v_absmax = fabsf(v[i][j]);
      }
    }
    m_absmax = quantization_max<kWide>(m_absmax, partial[0]);
    v_absmax = quantization_max<kWide>(v_absmax, partial[1]);
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      store_codes(tensor, range(i), signed_map, unsigned_map, m[i], v[i], m_absmax, v_absmax);
    }
    __syncwarp();  // all lanes have read the old scales; if kWide, the barrier of block_max has ordered the warps
    if (exists && (kWide ? thread : lane) == 0) {
      tensor.m_absmax[block] = m_absmax;
      tensor.v_absmax[block] = v_absmax;
    }
  }
  unsigned long long key = largest.key;
  for (int bits = 16; bits > 0; bits /= 2) {
    const unsigned long long other = __shfl_xor_sync(kFullWarp, key, bits);
    key = other > key ? other : key;
  }
  if (lane == 0) keys[warp] = key;
  __syncthreads();
  if (thread != 0) return;
  for (int i = 1; i < kWarps; ++i) key = keys[i] > key ? keys[i] : key;
  atomicMax(largest_of_all, key);
}

}  // namespace

void launch_adamw8bit(const AdamEntry* table, int entries, std::int64_t chunks, std::int64_t block_size,
                      const float* signed_map, const float* unsigned_map, unsigned long long* largest,
                      cudaStream_t stream) {
  if (chunks == 0) return;
  const auto kernel =
      block_size == kAdamChunk ? SHORI_KERNEL(adamw8bit_kernel<true>) : SHORI_KERNEL(adamw8bit_kernel<false>);
  launch(kernel, static_cast<unsigned>(std::min(chunks, kMaxBlocks)), kThreads, 0, stream, table, entries, chunks,
         signed_map, unsigned_map, largest);
}

}  // namespace shori
