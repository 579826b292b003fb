// Which part of which weight a tensor is, by its name, in a base that is already NF4.
#pragma once

#include <string>
#include <string_view>

#include "shori/io/hf_model.h"

namespace shori {

struct TensorPart {
  TensorRole role = TensorRole::kValues;
  std::string weight;
};
// A name that is no part of a linear has the role kValues and is its own weight.
TensorPart find_part(std::string_view name, const HfModelConfig& config);

}  // namespace shori
