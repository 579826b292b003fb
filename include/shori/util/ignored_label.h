// The label of a token that is not a target, as PyTorch's cross-entropy, transformers and data files of token ids write it.
#pragma once

#include <cstdint>

namespace shori {

inline constexpr std::int32_t kIgnoredLabel = -100;

}  // namespace shori
