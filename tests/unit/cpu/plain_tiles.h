// What the tile instructions of AMX do, in plain code: the tiles of the product kernel on a machine without AMX. Written
// after the pseudocode of the instructions (Intel SDM, TILELOADD, TILESTORED, TDPBF16PS).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace shori {

class PlainTiles {
 public:
  template <int kTile>
  void zero() {
    std::memset(tiles_[kTile], 0, sizeof(tiles_[kTile]));
  }
  template <int kTile>
  void load(const void* from, std::int64_t stride) {
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(tiles_[kTile][row], static_cast<const std::byte*>(from) + row * stride, kRowBytes);
    }
  }
  template <int kTile>
  void store(void* to, std::int64_t stride) {
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * stride, tiles_[kTile][row], kRowBytes);
    }
  }
  template <int kC, int kA, int kB>
  void dot() {
    for (int m = 0; m < kRows; ++m) {
      float sums[2 * kColumns] = {};
      for (int k = 0; k < kRows; ++k) {
        for (int n = 0; n < 2 * kColumns; ++n) {
          sums[n] = flushed(std::fma(bf16(kA, m, 2 * k + n % 2), bf16(kB, k, n), sums[n]));
        }
      }
      for (int n = 0; n < kColumns; ++n) {
        const float pair = flushed(sums[2 * n] + sums[2 * n + 1]);
        float total;
        std::memcpy(&total, tiles_[kC][m] + 4 * n, sizeof(total));
        total = flushed(flushed(total) + pair);
        std::memcpy(tiles_[kC][m] + 4 * n, &total, sizeof(total));
      }
    }
  }

 private:
  static constexpr int kRows = 16, kRowBytes = 64, kColumns = 16;

  // Denormals are read and written as zero.
  static float flushed(float value) {
    return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
  }
  float bf16(int tile, int row, int index) const {
    std::uint32_t bits = 0;
    std::memcpy(reinterpret_cast<std::byte*>(&bits) + 2, tiles_[tile][row] + 2 * index, 2);
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return flushed(value);
  }

  std::byte tiles_[8][kRows][kRowBytes] = {};
};

}  // namespace shori
