// A cuBLASLt that answers what a test says. It is loaded in place of the real one, which needs a GPU.
#pragma once

#include <cstdint>
#include <vector>

namespace shori::testing {

struct FakeAlgorithm {
  std::uint64_t id;
  std::int64_t first_rows = 1, last_rows = std::int64_t{1} << 40;  // that it takes
  std::int32_t splits = 1;
  bool knows_attributes = true;
  std::size_t workspace = 0;
};

struct FakeLibrary {
  std::vector<FakeAlgorithm> answers;  // the best first
  bool knows_the_mask = true;          // of reduction schemes; else asking with it is not supported
  struct Call {
    std::uint64_t algorithm;
    std::int64_t rows;
  };
  std::vector<Call> calls;  // of cublasLtMatmul
  int questions = 0;        // to the heuristic
};

}  // namespace shori::testing
