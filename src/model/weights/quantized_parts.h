// Bases that are NF4 in their files: from the parts of a linear to the scales of its blocks.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/io/tensor_stream.h"
#include "shori/model/nf4_weight.h"

namespace shori {

// Whether the scales of every linear can be kept nested. False if those of some linear are flat, or have other blocks
// or another quantization map than this program's; then all linears have flat scales, so that the memory of a base
// depends on this alone. True for a base that is not NF4 in its files.
bool has_nested_scales(const HfModel& model);
// E0217 if the codes of some linear mean other values than the NF4 levels.
void check_nf4_levels(const HfModel& model);

// Collects the absmax of the linears.
class QuantizedParts {
 public:
  explicit QuantizedParts(const HfModel& model) : model_(model), nested_(has_nested_scales(model)) {}

  // The next chunk of a part other than codes. Returns the scales of its linear, in host memory and without codes, when
  // all of them have come; E0210 if one is not finite.
  std::optional<Nf4Weight> add(const HfTensor& part, const TensorChunk& chunk);

 private:
  struct Collected {
    std::vector<std::byte> absmax, nested_absmax;
    bool has_absmax = false, has_nested_absmax = false;
  };
  Nf4Weight make_scales(const HfTensor& codes, const Collected& parts) const;

  const HfModel& model_;
  bool nested_;
  std::map<std::string, Collected> collected_;
};

}  // namespace shori
