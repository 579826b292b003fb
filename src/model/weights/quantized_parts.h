// Bases that are NF4 in their files: from the parts of a linear to the scales of its blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/io/tensor_stream.h"

namespace shori {

// Scales in one of the two forms of Nf4Tensor.
struct Nf4Scales {
  std::vector<std::uint8_t> absmax;
  std::vector<float> absmax2;
  float offset = 0.0f;
  std::vector<float> scales;
};

// Whether some linear needs plain scales: its absmax are not nested, or in other blocks or by another map than ours.
// Then all linears get them, so that the memory they need is known from this alone.
bool needs_plain_scales(const HfModel& model);
// E0217 if the codes of some linear mean other values than the NF4 levels.
void check_nf4_levels(const HfModel& model);

// Collects the absmax of the linears.
class QuantizedParts {
 public:
  QuantizedParts(const HfModel& model, bool plain_scales) : model_(model), plain_scales_(plain_scales) {}

  // The next piece of a part other than codes. The scales of its linear, when everything for them has come; E0210 if
  // one of them is not finite.
  std::optional<Nf4Scales> take(const HfTensor& part, const TensorPiece& piece);

 private:
  struct Collected {
    std::vector<std::byte> absmax, nested;
    bool has_absmax = false, has_nested = false;
  };
  Nf4Scales make_scales(const HfTensor& codes, const Collected& parts) const;

  const HfModel& model_;
  bool plain_scales_;
  std::map<std::string, Collected> collected_;
};

}  // namespace shori
