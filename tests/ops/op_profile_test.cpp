#include "shori/ops/op_profile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shori/ops/embed.h"
#include "shori/ops/swiglu.h"

namespace shori {
namespace {

const OpProfile::Line* find(const std::vector<OpProfile::Line>& lines, std::string_view op) {
  const auto found = std::ranges::find(lines, op, &OpProfile::Line::op);
  return found == lines.end() ? nullptr : &*found;
}

TEST(OpProfile, CountsCallsAndGivesTimeOnlyToWhatRan) {
  OpProfile profile(Device::kCpu, nullptr);
  EXPECT_TRUE(profile.lines().empty());
  profile.begin("a");
  profile.begin("b");
  profile.begin("a");
  profile.end();
  profile.end();
  profile.begin("c");
  const auto lines = profile.lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(find(lines, "a")->calls, 2);
  EXPECT_EQ(find(lines, "b")->calls, 1);
  EXPECT_EQ(find(lines, "c")->calls, 1);
  EXPECT_TRUE(std::ranges::is_sorted(lines, std::ranges::greater_equal(), &OpProfile::Line::seconds));
  for (const OpProfile::Line& line : lines) EXPECT_GE(line.seconds, 0);
}

TEST(OpProfile, OpsTellItThatTheyBegin) {
  Workspace workspace;
  OpProfile profile(Device::kCpu, nullptr);
  const OpContext context{.workspace = &workspace, .profile = &profile};
  std::vector<float> table(8, 1.0f), rows(8), product(4);
  const std::vector<std::int32_t> ids = {0};
  embed(context, ConstTensorView{table.data(), DType::kF32, 1, 8, 8}, ids, {rows.data(), DType::kF32, 1, 8, 8});
  swiglu(context, ConstTensorView{rows.data(), DType::kF32, 1, 8, 8}, {product.data(), DType::kF32, 1, 4, 4});
  const auto lines = profile.lines();
  EXPECT_NE(find(lines, "embed"), nullptr);
  EXPECT_NE(find(lines, "swiglu"), nullptr);
  const std::string table_text = profile_table(lines);
  EXPECT_NE(table_text.find("embed"), std::string::npos);
  EXPECT_NE(table_text.find("100.00 %"), std::string::npos) << table_text;
}

}  // namespace
}  // namespace shori
