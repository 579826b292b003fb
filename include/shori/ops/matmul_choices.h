// Which library algorithm each large product of a device runs. run.json records it, so that a run that resumes takes the
// same algorithms and its sums keep their order. The list is empty where products have no choice (CPU, emulator).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace shori {

struct MatmulChoice {
  // "x.wT n 6144 k 4160 rows 4160 4160 6144": form, sizes, row strides of a, b, c. " m 64-1023" follows where the algorithm
  // serves these lengths alone.
  std::string product;
  std::string algorithm;  // "130100:" (version of cuBLASLt) and the algorithm's parameters in hex
  std::string description =
      {};  // of a choice that this process made: "answer 1 of 64, algorithm 66, tile 20, 1.94 waves"
};

// All choices made or restored so far, sorted by product.
std::vector<MatmulChoice> matmul_choices();
// Call it before the first product of the process. A choice that the library no longer accepts is E0509 when its
// product first runs.
void restore_matmul_choices(const std::vector<MatmulChoice>& choices);

// For device_matmul: the choice for a product, if there is one, and a new choice.
std::optional<std::string> find_matmul_choice(const std::string& product);
void remember_matmul_choice(const MatmulChoice& choice);

}  // namespace shori
