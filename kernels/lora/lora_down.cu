// xA of all adapters of one input. A block has 64 tokens and a part of the columns, in chunks of 64: four warps of 16
// tokens for the low half of each chunk, four for the high half. Halves and parts are added in a fixed order, which
// depends on the number of columns alone.
//
// Within 32 columns the k of the fragments are permuted: lane t of a row takes columns 8t .. 8t + 7, on both sides. Its
// tokens are then one 16-byte load and one draw of the mask, made once for each slot and never shared.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/lora_down_launch.h"

namespace shori {
namespace {

constexpr int kRows = 64;
constexpr int kRowWarps = kRows / 16;
constexpr int kThreads = 2 * kRowWarps * 32;
constexpr int kChunk = 64;           // columns
constexpr int kPieces = kChunk / 8;  // 16-byte pieces of a row in a chunk

// kTiles: of 8 adapter rows, for each slot. With many rows a third stage would cost a block on the multiprocessor.
template <int kSlots, int kTiles>
struct Stages {
  static constexpr int kCount = kSlots * kTiles <= 6 ? 3 : 2;
  static constexpr int kPiecesOfOne = (kRows + kSlots * kTiles * 8) * kPieces;
  static constexpr int kBytes = kCount * kPiecesOfOne * 16;
  static_assert(kBytes >= kRows * kSlots * kTiles * 8 * 4, "the sums are staged where the operands were");
};

// Pieces are exchanged so that the lanes of one access meet different banks.
__device__ int piece_of(int row, int piece) { return row * kPieces + (piece ^ (row % 2 * 4)); }

// Rows and columns beyond the operands become zeros.
template <int kSlots, int kTiles>
__device__ void load_stage(uint4* stage, const LoraDownLaunch& a, std::int64_t first_row, int first_column) {
  const int piece = static_cast<int>(threadIdx.x) % kPieces, column = first_column + piece * 8;
#pragma unroll
  for (int first = 0; first < kRows; first += kThreads / kPieces) {
    const int row = first + static_cast<int>(threadIdx.x) / kPieces;
    const bool valid = first_row + row < a.rows && column < a.in;
    cp_async_16(stage + piece_of(row, piece), valid ? a.x + (first_row + row) * a.x_stride + column : a.x, valid);
  }
  uint4* factors = stage + kRows * kPieces;
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
    for (int first = 0; first < kTiles * 8; first += kThreads / kPieces) {
      const int row = first + static_cast<int>(threadIdx.x) / kPieces;
      if (row >= kTiles * 8) continue;
      const bool valid = row < a.rank && column < a.in;
      cp_async_16(factors + piece_of(slot * kTiles * 8 + row, piece),
                  valid ? a.a[slot] + static_cast<std::int64_t>(row) * a.in + column : a.a[slot], valid);
    }
  }
}

// Words 0 .. 3 of a 16-byte vector, where `kept` has a bit for each of its 8 values.
__device__ std::uint32_t kept_pair(std::uint32_t values, unsigned kept, int word) {
  const std::uint32_t low = kept >> (2 * word) & 1u ? 0xffffu : 0u,
                      high = kept >> (2 * word + 1) & 1u ? 0xffff0000u : 0u;
  return values & (low | high);
}

template <int kSlots, int kTiles>
__global__ void __launch_bounds__(kThreads, 1) lora_down_kernel(LoraDownLaunch a) {
  using S = Stages<kSlots, kTiles>;
  uint4* stages = dynamic_shared<uint4>();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
  const int half = warp / kRowWarps, upper = warp % kRowWarps * 16 + g, lower = upper + 8;
  const int piece = half * 4 + t;
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const auto upper_row = static_cast<std::uint32_t>(first_row + upper);
  const std::int64_t part = blockIdx.y, chunks = ceil_div(a.in, kChunk);
  const int first = static_cast<int>(chunks * part / kLoraDownParts);
  const int last = static_cast<int>(chunks * (part + 1) / kLoraDownParts);
  const auto load = [&](int chunk) {
    if (chunk < last) {
      load_stage<kSlots, kTiles>(stages + (chunk - first) % S::kCount * S::kPiecesOfOne, a, first_row, chunk * kChunk);
    }
    cp_async_commit();  // also when empty: the wait below counts groups
  };

  float sum[kSlots][kTiles][4] = {};
  for (int chunk = first; chunk < first + S::kCount - 1; ++chunk) load(chunk);
  for (int chunk = first; chunk < last; ++chunk) {
    cp_async_wait<S::kCount - 2>();
    __syncthreads();  // the chunk is there for all, and the stage of the one before is free
    load(chunk + S::kCount - 1);
    const uint4* tokens = stages + (chunk - first) % S::kCount * S::kPiecesOfOne;
    const uint4* factors = tokens + kRows * kPieces;
    const uint4 high = tokens[piece_of(upper, piece)], low = tokens[piece_of(lower, piece)];
    const auto group = static_cast<std::uint32_t>(chunk * kPieces + piece);
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const unsigned keep_high = kept_columns(a.mask, a.module_index[slot], upper_row, group);
      const unsigned keep_low = kept_columns(a.mask, a.module_index[slot], upper_row + 8, group);
      const std::uint32_t early[4] = {kept_pair(high.x, keep_high, 0), kept_pair(low.x, keep_low, 0),
                                      kept_pair(high.y, keep_high, 1), kept_pair(low.y, keep_low, 1)};
      const std::uint32_t late[4] = {kept_pair(high.z, keep_high, 2), kept_pair(low.z, keep_low, 2),
                                     kept_pair(high.w, keep_high, 3), kept_pair(low.w, keep_low, 3)};
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 factor = factors[piece_of((slot * kTiles + tile) * 8 + g, piece)];
        mma_m16n8k16_bf16(sum[slot][tile], early, {factor.x, factor.y});
        mma_m16n8k16_bf16(sum[slot][tile], late, {factor.z, factor.w});
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();  // the stages are free

  // The high half leaves its sums in shared memory, the low half adds its own; rows then leave in one piece.
  auto* sums = reinterpret_cast<float*>(stages);
  const int width = kSlots * a.rank;
  for (int turn = 1; turn >= 0; --turn) {
    if (half == turn) {
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int column = tile * 8 + 2 * t + i % 2;
            if (column >= a.rank) continue;
            float& to = sums[(i < 2 ? upper : lower) * width + slot * a.rank + column];
            to = turn == 1 ? sum[slot][tile][i] : sum[slot][tile][i] + to;
          }
        }
      }
    }
    __syncthreads();
  }
  const std::int64_t rows = a.rows - first_row < kRows ? a.rows - first_row : kRows;
  float* out = a.sums + (part * a.rows + first_row) * width;
  for (int i = static_cast<int>(threadIdx.x); i < rows * width; i += kThreads) out[i] = sums[i];
}

// Adds the parts, scales, rounds; 8 columns of the tail a thread.
__global__ void __launch_bounds__(kThreads) finish_kernel(LoraDownLaunch a) {
  const int pieces = a.tail / 8, width = a.slots * a.rank;
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = index / pieces;
  if (row >= a.rows) return;
  const int column = static_cast<int>(index % pieces) * 8;
  float value[8];
  for (int i = 0; i < 8; ++i) {
    value[i] = 0;
    if (column + i >= width) continue;
    for (int part = 0; part < kLoraDownParts; ++part) value[i] += a.sums[(part * a.rows + row) * width + column + i];
    value[i] *= a.mask.scale;
  }
  *reinterpret_cast<uint4*>(a.x + row * a.x_stride + a.in + column) = pack_bf16_vector(value);
}

template <int kSlots, int kTiles>
void launch_tiles(const LoraDownLaunch& arguments, cudaStream_t stream) {
  const dim3 grid(block_count(arguments.rows, kRows), kLoraDownParts);
  launch(lora_down_kernel<kSlots, kTiles>, grid, kThreads, Stages<kSlots, kTiles>::kBytes, stream, arguments);
}

template <int kSlots>
void launch_slots(const LoraDownLaunch& arguments, cudaStream_t stream) {
  if (arguments.rank <= 16) {
    launch_tiles<kSlots, 2>(arguments, stream);
  } else if (arguments.rank <= 24) {
    launch_tiles<kSlots, 3>(arguments, stream);
  } else if (arguments.rank <= 32) {
    launch_tiles<kSlots, 4>(arguments, stream);
  } else {
    launch_tiles<kSlots, 8>(arguments, stream);
  }
}

}  // namespace

void launch_lora_down(const LoraDownLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  if (arguments.slots == 1) {
    launch_slots<1>(arguments, stream);
  } else if (arguments.slots == 2) {
    launch_slots<2>(arguments, stream);
  } else {
    launch_slots<3>(arguments, stream);
  }
  const std::int64_t pieces = arguments.rows * (arguments.tail / 8);
  launch(finish_kernel, block_count(pieces, kThreads), kThreads, 0, stream, arguments);
}

}  // namespace shori
