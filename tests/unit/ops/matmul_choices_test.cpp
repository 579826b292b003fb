#include "shori/ops/matmul_choices.h"

#include <gtest/gtest.h>

namespace shori {
namespace {

TEST(MatmulChoices, AreListedAsTheyWereRestoredAndMade) {
  ASSERT_TRUE(matmul_choices().empty());
  restore_matmul_choices({{"x.wT n 2", "1:aa"}, {"x.w n 1", "1:bb"}});
  remember_matmul_choice({"x.w n 3", "1:cc"});
  EXPECT_EQ(find_matmul_choice("x.w n 1"), "1:bb");
  EXPECT_EQ(find_matmul_choice("x.w n 2"), std::nullopt);
  const std::vector<MatmulChoice> all = matmul_choices();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].product, "x.w n 1");
  EXPECT_EQ(all[1].product, "x.w n 3");
  EXPECT_EQ(all[2].product, "x.wT n 2");
  EXPECT_EQ(all[2].algorithm, "1:aa");
}

}  // namespace
}  // namespace shori
