#include "shori/model/nf4_weight.h"

namespace shori {

Nf4Weight Nf4Weight::make(const Nf4Layout& layout, DeviceArena* arena) {
  Nf4Weight weight;
  weight.layout = layout;
  weight.codes = OwnedTensor::make(DType::kU8, 1, layout.codes(), arena);
  if (layout.nested) {
    weight.absmax = OwnedTensor::make(DType::kU8, 1, layout.blocks(), arena);
    weight.absmax2 = OwnedTensor::make(DType::kF32, 1, layout.groups(), arena);
  } else {
    weight.scales = OwnedTensor::make(DType::kF32, 1, layout.blocks(), arena);
  }
  return weight;
}

Nf4View Nf4Weight::view() const {
  return {.layout = layout,
          .codes = codes.data<std::uint8_t>(),
          .absmax = absmax.data<std::uint8_t>(),
          .absmax2 = absmax2.data<float>(),
          .offset = offset,
          .scales = scales.data<float>()};
}

std::size_t Nf4Weight::bytes() const {
  return codes.bytes() + absmax.bytes() + absmax2.bytes() + scales.bytes() + sizeof offset;
}

}  // namespace shori
