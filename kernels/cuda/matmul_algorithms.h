// Which algorithm of cuBLASLt multiplies.
//
// The library's matrices are column-major. A row-major c = a b is c' = b' a' there, so the library's first operand is our b,
// its second is our a, and its m, n, k are our N, M, K.
//
// One algorithm serves each (form, N, K, strides) at every M, and neither timing nor free memory plays a part in its choice:
// it is the heuristic's first answer that has no split-K and no reduction over thread blocks, and that the library also
// accepts at the other lengths of its range. Where none serves every M, each range of M has its own; where a range has none,
// each M. Only where the library has no such algorithm even for one M, one with split-K is taken.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "kernels/common/device_matmul.h"

namespace shori {

// Throws E0703 with the call; a failure of the device is reported instead where there is one.
void check_cublas(cublasStatus_t status, const char* call);
#define SHORI_CUBLAS_CHECK(call) ::shori::check_cublas((call), #call)

struct MatmulProduct {
  MatmulB form;
  std::int64_t n, k, a_stride, b_stride, c_stride;
  auto operator<=>(const MatmulProduct&) const = default;
  std::string name() const;  // "x.wT n 6144 k 4160 rows 4160 4160 6144"
};

// Lengths M from `first` to `last` that share an algorithm.
struct RowRange {
  std::int64_t first, last;
  auto operator<=>(const RowRange&) const = default;
  std::string suffix() const;  // "" for every length, " m 64-1023", " m 1024-", " m 37"
};
// The ranges that serve `rows`, the widest first: every length, a third of them, this one.
std::vector<RowRange> ranges_of(std::int64_t rows);

// The library's descriptors of one product at one M. They are plain members, so nothing is allocated.
struct MatmulDescriptors {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t first, second, result;
  MatmulDescriptors(const MatmulProduct& product, std::int64_t rows);
};

struct MatmulAlgorithm {
  cublasLtMatmulAlgo_t algorithm;
  bool is_first = true;     // of the heuristic's answers
  std::string description;  // "answer 1 of 64, algorithm 66, tile 20, 1.94 waves"
};

// Empty if the library has none that sums each element in one thread block and takes all lengths of the range.
std::optional<MatmulAlgorithm> choose_algorithm(cublasLtHandle_t handle, const MatmulProduct& product, RowRange range);
// The heuristic's first answer for this many rows, whatever it is; empty if there is none.
std::optional<MatmulAlgorithm> choose_any_algorithm(cublasLtHandle_t handle, const MatmulProduct& product,
                                                    std::int64_t rows);

// Whether the library accepts the algorithm at the lengths of the range.
bool accepts(cublasLtHandle_t handle, const MatmulProduct& product, RowRange range,
             const cublasLtMatmulAlgo_t& algorithm);

}  // namespace shori
