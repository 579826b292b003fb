// Which library algorithm each large product of a device runs, and which products with frozen weights run the kernel of
// kernels/linear/nf4_product.cu instead. run.json records it, so that a run that resumes takes the same ones and its sums keep
// their order. The list is empty where products have no choice (CPU; the emulator, unless it is made to use the kernel).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shori {

struct MatmulChoice {
  // "x.wT n 6144 k 4160 rows 4160 4160 6144": form, sizes, row strides of a, b, c. " m 64-1023" follows where the algorithm
  // serves these lengths alone. Of frozen weights "frozen x.wT out 4096+1024+1024 in 4096+64": one choice for every length.
  std::string product;
  // "130100:" (version of cuBLASLt) and the algorithm's parameters in hex. Of frozen weights kNf4Algorithm or kLibraryAlgorithm.
  std::string algorithm;
  // "answer 1 of 64, algorithm 66, tile 20, 1.94 waves", or the times that were compared. Of frozen weights it is recorded.
  std::string description = {};
  bool is_frozen() const { return product.starts_with("frozen "); }
};
inline constexpr std::string_view kNf4Algorithm = "nf4", kLibraryAlgorithm = "cublaslt";

// How products with frozen NF4 weights are made (ops/nf4_linear.h), if their shape leaves a choice.
enum class FrozenProducts {
  kCublasLt,
  kNf4,
  kAuto,      // the faster way, timed once for each shape on cards that add faster in fp16; elsewhere cuBLASLt
  kRecorded,  // what restore_matmul_choices() gave, else cuBLASLt
};
// For the products that follow; kCublasLt until it is called.
void set_frozen_products(FrozenProducts choice);
FrozenProducts frozen_products();

// All choices made or restored so far, sorted by product.
std::vector<MatmulChoice> matmul_choices();
// Call it before the first product of the process. A choice that the library no longer accepts is E0509 when its
// product first runs.
void restore_matmul_choices(const std::vector<MatmulChoice>& choices);

// For device_matmul: the choice for a product, if there is one, and a new choice.
std::optional<std::string> find_matmul_choice(const std::string& product);
void remember_matmul_choice(const MatmulChoice& choice);

}  // namespace shori
