#include "shori/ops/matmul_choices.h"

#include <map>

namespace shori {

namespace {

std::map<std::string, MatmulChoice>& algorithms() {
  static std::map<std::string, MatmulChoice> by_product;
  return by_product;
}

FrozenProducts& frozen() {
  static FrozenProducts choice = FrozenProducts::kCublasLt;
  return choice;
}

}  // namespace

void set_frozen_products(FrozenProducts choice) { frozen() = choice; }
FrozenProducts frozen_products() { return frozen(); }

std::vector<MatmulChoice> matmul_choices() {
  std::vector<MatmulChoice> choices;
  for (const auto& [product, choice] : algorithms()) choices.push_back(choice);
  return choices;
}

void restore_matmul_choices(const std::vector<MatmulChoice>& choices) {
  for (const MatmulChoice& choice : choices) remember_matmul_choice(choice);
}

std::optional<std::string> find_matmul_choice(const std::string& product) {
  const auto found = algorithms().find(product);
  return found == algorithms().end() ? std::nullopt : std::optional(found->second.algorithm);
}

void remember_matmul_choice(const MatmulChoice& choice) { algorithms()[choice.product] = choice; }

}  // namespace shori
