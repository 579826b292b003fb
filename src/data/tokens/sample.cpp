#include "shori/data/sample.h"

namespace shori {

std::string_view token_role_name(TokenRole role) {
  // The roles come first in TokenRole, in the order of Role.
  if (role == TokenRole::kEos) return "eos";
  if (role == TokenRole::kOther) return "other";
  return word_of(static_cast<Role>(role));
}

}  // namespace shori
