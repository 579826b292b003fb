// Which part of which weight a tensor's name means, in a base that is NF4 already.
#pragma once

#include <string>
#include <string_view>

#include "shori/io/hf_model.h"

namespace shori {

struct TensorPart {
  TensorRole role = TensorRole::kValues;
  std::string weight;
};
// Whatever is not a part is values of its own name.
TensorPart find_part(std::string_view name, const HfModelConfig& config);

}  // namespace shori
