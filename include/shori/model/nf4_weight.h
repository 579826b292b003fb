// An NF4 weight with its memory, on the heap or in an arena of a device.
#pragma once

#include <cstddef>

#include "shori/model/owned_tensor.h"
#include "shori/quant/nf4.h"

namespace shori {

// The arrays are those of Nf4View; those that the layout does not have are empty.
struct Nf4Weight {
  Nf4Layout layout;
  OwnedTensor codes;            // [1, codes] u8
  OwnedTensor absmax, absmax2;  // nested: [1, blocks] u8, [1, groups] fp32
  OwnedTensor scales;           // flat: [1, blocks] fp32
  float offset = 0.0f;          // in host memory on every device

  // Memory for a weight, contents undefined. `arena`: of a device; null: the heap.
  static Nf4Weight make(const Nf4Layout& layout, DeviceArena* arena = nullptr);

  Nf4View view() const;
  std::size_t bytes() const;
};

}  // namespace shori
