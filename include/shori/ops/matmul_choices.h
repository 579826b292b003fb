// Which library algorithm each large product of a device runs, kept for run.json: a run that resumes takes the same
// ones, so that its sums have the same order. Empty where products do not choose (the CPU, the emulator).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace shori {

struct MatmulChoice {
  std::string product;    // "x.wT n 6144 k 4160 rows 4160 4160 6144": form, sizes, strides of a, b, c
  std::string algorithm;  // "130100:" (version of cuBLASLt) and its parameters in hex
};

// All choices made or restored so far, by product.
std::vector<MatmulChoice> matmul_choices();
// Before the first product of the process. A choice that the library no longer takes is E0509 when its product runs.
void restore_matmul_choices(const std::vector<MatmulChoice>& choices);

// What the device's products use: the choice for a product, and a new one.
std::optional<std::string> find_matmul_choice(const std::string& product);
void remember_matmul_choice(const MatmulChoice& choice);

}  // namespace shori
