// What training reads of a conversation: ids, which of them are targets, and what each token belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "shori/config/vocabulary.h"

namespace shori {

// What a predicted token belongs to: the block's role, `inst`, `eos`; `other` where there are no blocks.
// clang-format off
enum class TokenRole : std::uint8_t {
  kTitle, kTags, kLore, kScenario, kDescription, kMessage, kOoc, kInst, kEos, kOther
};
// clang-format on
inline constexpr std::size_t kTokenRoleCount = kRoleCount + 2;
std::string_view token_role_name(TokenRole role);

// One training sample, 1 <= ids.size() <= sequence_len.
struct Sample {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;  // 1: label = id; 0: label = -100
  std::vector<std::uint8_t> roles;    // TokenRole of each id; empty: all kOther
  std::vector<std::uint8_t> regions;  // Region of each id; empty without DataOptions::keep_regions, or without blocks
  std::uint32_t conversation = 0;     // index into Dataset::conversations
  std::uint32_t part = 1, parts = 1;  // of a split conversation
};

}  // namespace shori
