// An NF4 weight in vectors, so that tests of the lower layers can make one and compare its arrays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shori/quant/nf4.h"

namespace shori {

struct Nf4Vectors {
  Nf4Layout layout;
  std::vector<std::uint8_t> codes, absmax;
  std::vector<float> absmax2, scales;
  float offset = 0.0f;
  std::int64_t zero_blocks = 0;

  explicit Nf4Vectors(const Nf4Layout& layout)
      : layout(layout),
        codes(static_cast<std::size_t>(layout.codes())),
        absmax(static_cast<std::size_t>(layout.nested ? layout.blocks() : 0)),
        absmax2(static_cast<std::size_t>(layout.nested ? layout.groups() : 0)),
        scales(static_cast<std::size_t>(layout.nested ? 0 : layout.blocks())) {}

  // A view is never const: whoever has a const weight only reads through it.
  operator Nf4View() const {
    auto& self = const_cast<Nf4Vectors&>(*this);
    return {layout, self.codes.data(), self.absmax.data(), self.absmax2.data(), offset, self.scales.data()};
  }
};

// nullopt if a value is NaN or Inf.
inline std::optional<Nf4Vectors> quantize_nf4(std::span<const float> values, std::int64_t rows, std::int64_t cols,
                                              int threads = 1) {
  Nf4Vectors weight({rows, cols});
  const std::optional<Nf4Findings> findings = quantize_nf4(values, weight, threads);
  if (!findings) return std::nullopt;
  weight.offset = findings->offset;
  weight.zero_blocks = findings->zero_blocks;
  return weight;
}

}  // namespace shori
