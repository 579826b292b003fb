// The label of a token that is not a target, as in PyTorch's cross-entropy, transformers and data files of token ids.
#pragma once

#include <cstdint>

namespace shori {

inline constexpr std::int32_t kIgnoredLabel = -100;

}  // namespace shori
