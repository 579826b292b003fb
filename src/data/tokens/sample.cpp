#include "shori/data/sample.h"

#include <array>

namespace shori {

std::string_view token_role_name(TokenRole role) {
  constexpr std::array<std::string_view, kTokenRoleCount> names = {"title",   "tags", "lore", "scenario", "description",
                                                                   "message", "ooc",  "inst", "eos",      "other"};
  return names[static_cast<std::size_t>(role)];
}

}  // namespace shori
