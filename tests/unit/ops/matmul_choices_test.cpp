#include "shori/ops/matmul_choices.h"

#include <gtest/gtest.h>

#include "kernels/linear/nf4_product.h"
#include "kernels/linear/product_choice.h"

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

// Which way a product of frozen weights goes, without a device.
class FrozenProductsTest : public ::testing::Test {
 protected:
  void TearDown() override { set_frozen_products(FrozenProducts::kCublasLt); }

  std::string way_of(FrozenProducts choice, std::int64_t in = 64) {
    set_frozen_products(choice);
    alignas(16) static std::uint8_t codes[16] = {};
    const LinearModule module{.weight = FrozenWeight::of({.layout = {8, in}, .codes = codes})};
    std::string way;
    run_frozen_product({}, MatmulB::kTransposed, {{&module, 1}, 0, 0.0f}, 2048,
                       {.library = [&] { way += "library"; }, .nf4 = [&] { way += "nf4"; }});
    return way;
  }
};

TEST_F(FrozenProductsTest, GoTheWayThatIsNamedOrRecorded) {
  EXPECT_EQ(way_of(FrozenProducts::kCublasLt), "library");
  EXPECT_EQ(way_of(FrozenProducts::kRecorded), "library") << "nothing is recorded";
  EXPECT_EQ(way_of(FrozenProducts::kAuto), "library") << "this device is not timed";
  EXPECT_EQ(find_matmul_choice("frozen x.wT out 8 in 64+0"), std::nullopt);
  EXPECT_EQ(way_of(FrozenProducts::kNf4), "nf4");
  EXPECT_EQ(find_matmul_choice("frozen x.wT out 8 in 64+0"), "nf4");
  EXPECT_EQ(way_of(FrozenProducts::kNf4, 40), "library") << "no shape of the kernel";
  EXPECT_EQ(way_of(FrozenProducts::kRecorded), "nf4");
  restore_matmul_choices({{"frozen x.wT out 8 in 64+0", "cublaslt"}});
  EXPECT_EQ(way_of(FrozenProducts::kRecorded), "library");
  EXPECT_EQ(way_of(FrozenProducts::kAuto), "library");
}

// On other cards both ways add at the same rate, and timing would only cost a part of the trial pass.
TEST_F(FrozenProductsTest, AreTimedOnGeForceCardsAlone) {
  for (const auto& [major, minor, timed] :
       {std::tuple{8, 0, false}, {8, 6, true}, {8, 7, false}, {8, 9, true}, {9, 0, false}, {12, 0, false}}) {
    DeviceInfo card;
    card.sm_major = major;
    card.sm_minor = minor;
    EXPECT_EQ(adds_faster_in_half(card), timed) << major << '.' << minor;
  }
}

TEST_F(FrozenProductsTest, TheKernelHasToSaveFivePercent) {
  EXPECT_TRUE(is_worthwhile(0.95, 1.0));
  EXPECT_FALSE(is_worthwhile(0.96, 1.0));
  EXPECT_FALSE(is_worthwhile(1.2, 1.0));
}

}  // namespace
}  // namespace shori
