// Which algorithm of cuBLASLt multiplies, with a library in its place that answers what the test says.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/common/device_matmul.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/matmul_choices.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "tests/gpu/fake_cublaslt/fake_cublaslt.h"

namespace shori {
namespace {

using testing::FakeAlgorithm;
using testing::FakeLibrary;

// How the stream ends, for a program that waits for it.
cudaError_t end_of_stream = cudaSuccess;

class MatmulChoiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    void* const loaded = dlopen(SHORI_FAKE_CUBLASLT, RTLD_NOW | RTLD_GLOBAL);
    ASSERT_NE(loaded, nullptr) << dlerror();
    fake_ = reinterpret_cast<FakeLibrary* (*)()>(dlsym(loaded, "fake_cublaslt"))();
    *fake_ = {};
    n_ += 8;  // each test multiplies other shapes, because a process keeps its choices
  }

  // The algorithm of a product with this many rows.
  std::uint64_t algorithm_of(std::int64_t rows) {
    Workspace workspace(reinterpret_cast<std::byte*>(kMatmulWorkspaceBytes), kMatmulWorkspaceBytes);
    const OpContext context{.device = Device::kCuda, .workspace = &workspace};
    device_matmul(context, MatmulB::kTransposed, {nullptr, DType::kBf16, rows, 64, 64},
                  {nullptr, DType::kBf16, n_, 64, 64}, {nullptr, DType::kBf16, rows, n_, n_});
    EXPECT_EQ(fake_->calls.back().rows, rows);
    return fake_->calls.back().algorithm;
  }
  std::string product() const { return concat("x.wT n ", n_, " k 64 rows 64 64 ", n_); }
  // The recorded names of this product, without what they share.
  std::vector<std::string> recorded() const {
    std::vector<std::string> names;
    for (const MatmulChoice& choice : matmul_choices()) {
      if (choice.product.starts_with(product())) names.push_back(choice.product.substr(product().size()));
    }
    return names;
  }

  FakeLibrary* fake_ = nullptr;
  static inline std::int64_t n_ = 0;
};

TEST_F(MatmulChoiceTest, IsTheFirstAnswerThatServesEveryLength) {
  fake_->answers = {{.id = 1, .splits = 4}, {.id = 2, .first_rows = 64}, {.id = 3}, {.id = 4}};
  for (const std::int64_t rows : {4096, 1, 100}) EXPECT_EQ(algorithm_of(rows), 3u);
  EXPECT_EQ(recorded(), std::vector<std::string>{""});
  EXPECT_EQ(fake_->questions, 1);
  const std::vector<MatmulChoice> choices = matmul_choices();
  const auto own = std::ranges::find(choices, product(), &MatmulChoice::product);
  EXPECT_EQ(own->description, "answer 3 of 4, algorithm 3, tile 0, 1.50 waves");
}

// An attribute that an algorithm does not know, and one that was never set (-1).
TEST_F(MatmulChoiceTest, GoesOnAfterAnAlgorithmWithoutAttributes) {
  fake_->answers = {{.id = 1, .knows_attributes = false}, {.id = 2, .splits = -1}};
  EXPECT_EQ(algorithm_of(4096), 2u);
}

TEST_F(MatmulChoiceTest, AsksAgainWithoutTheMaskOfReductionSchemes) {
  fake_->knows_the_mask = false;
  fake_->answers = {{.id = 1, .splits = 2}, {.id = 2}};
  EXPECT_EQ(algorithm_of(4096), 2u);
}

TEST_F(MatmulChoiceTest, IsOneForEachRangeWhereNoneServesAll) {
  fake_->answers = {{.id = 1, .first_rows = 64}, {.id = 2, .last_rows = 63}};
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(algorithm_of(4096), 1u);
  EXPECT_EQ(algorithm_of(2048), 1u) << "long tiles share an algorithm, so that a row has the same bits in each";
  EXPECT_EQ(algorithm_of(64), 1u);
  EXPECT_EQ(algorithm_of(7), 2u);
  EXPECT_EQ(recorded(), (std::vector<std::string>{" m 1-63", " m 1024-", " m 64-1023"}));
  const std::string log = ::testing::internal::GetCapturedStderr();
  for (const auto& [range, algorithm] : {std::pair{" m 1024-", 1}, {" m 64-1023", 1}, {" m 1-63", 2}}) {
    const std::string said = concat("product ", product(), range, ": answer 1 of 1, algorithm ", algorithm,
                                    ", tile 0, 1.50 waves; no algorithm of cuBLASLt serves every number of rows");
    EXPECT_NE(log.find(said), std::string::npos) << said << " is not in\n" << log;
  }
}

TEST_F(MatmulChoiceTest, IsOneForEachLengthWhereARangeHasNone) {
  fake_->answers = {{.id = 1, .first_rows = 1, .last_rows = 8}, {.id = 2, .first_rows = 9}};
  EXPECT_EQ(algorithm_of(5), 1u);
  EXPECT_EQ(algorithm_of(9), 2u);
  EXPECT_EQ(recorded(), (std::vector<std::string>{" m 5", " m 9"}));
}

TEST_F(MatmulChoiceTest, TakesSplitSumsBeforeNothing) {
  fake_->answers = {{.id = 1, .splits = 4, .workspace = kMatmulWorkspaceBytes + 1}, {.id = 2, .splits = 4}};
  EXPECT_EQ(algorithm_of(4096), 2u);
  EXPECT_EQ(recorded(), std::vector<std::string>{" m 4096"});
}

TEST_F(MatmulChoiceTest, IsAnErrorWhereNothingRuns) {
  fake_->answers = {{.id = 1, .first_rows = 5000}};
  EXPECT_EQ(algorithm_of(8192), 1u) << "its own length";
  try {
    algorithm_of(4096);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0703");
    EXPECT_NE(error.diagnostics().front().message.find(product() + " m 4096"), std::string::npos) << error.what();
  }
}

// Without SHORI_SYNC the product is queued, and its failure shows at a later call.
TEST_F(MatmulChoiceTest, ShoriSyncNamesTheProductThatFails) {
  fake_->answers = {{.id = 1}};
  end_of_stream = cudaErrorIllegalAddress;
  EXPECT_NO_THROW(algorithm_of(100));
  setenv("SHORI_SYNC", "1", 1);
  try {
    algorithm_of(100);
    ADD_FAILURE() << "the product was not waited for";
  } catch (const Error& error) {
    EXPECT_EQ(error.diagnostics().front().notes.front(), concat("cublasLtMatmul m 100, ", product()));
  }
  unsetenv("SHORI_SYNC");
  end_of_stream = cudaSuccess;
}

// A run that resumes takes the recorded choice of a range and does not ask.
TEST_F(MatmulChoiceTest, OfARangeIsTakenFromTheRecord) {
  fake_->answers = {{.id = 1}, {.id = 7, .first_rows = 1024}};
  const std::string algorithm = "130100:07" + std::string(126, '0');
  restore_matmul_choices({{product() + " m 1024-", algorithm}});
  EXPECT_EQ(algorithm_of(4096), 7u);
  EXPECT_EQ(fake_->questions, 0);
  restore_matmul_choices({{product() + " m 1-63", algorithm}});
  try {
    algorithm_of(5);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0509");
  }
}

}  // namespace
}  // namespace shori

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t) { return shori::end_of_stream; }
