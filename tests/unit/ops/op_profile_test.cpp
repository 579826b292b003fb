#include "shori/ops/op_profile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shori/ops/adamw8bit.h"
#include "shori/ops/attention.h"
#include "shori/ops/base_checksum.h"
#include "shori/ops/embed.h"
#include "shori/ops/grad_norm.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "shori/util/ignored_label.h"
#include "tests/support/ops_linear.h"

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

TEST(OpProfile, OpsReportThatTheyBegin) {
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

// Runs ops and reads the work that they report.
class OpWorkTest : public ::testing::Test {
 protected:
  OpWork work_of(std::string_view op) {
    const auto lines = profile_.lines();
    const OpProfile::Line* line = find(lines, op);
    return line == nullptr ? OpWork{-1, -1} : line->work;
  }
  double flop_of(std::string_view op) { return work_of(op).flop; }
  double bytes_of(std::string_view op) { return work_of(op).bytes; }

  Workspace workspace_;
  OpProfile profile_{Device::kCpu, nullptr};
  OpContext context_{.workspace = &workspace_, .profile = &profile_};
};

constexpr std::int64_t kTokens = 6, kIn = 64, kOut = 32 + 16 + 24, kRank = 4, kLoraColumns = 32;

TEST_F(OpWorkTest, OfALinearGroup) {
  const TestGroup linear(DType::kBf16, kIn, kRank, {{kQ, 32}, {kK, 16, kNoLora}, {kV, 24}}, WeightKind::kNf4, 1);
  const LinearGroup& group = linear.group();
  Matrix x = random_matrix(DType::kBf16, kTokens, kIn + kLoraColumns, 2), dx(DType::kBf16, kTokens, kIn + kLoraColumns),
         y(DType::kBf16, kTokens, kOut);
  lora_down(context_, group, {}, x);
  nf4_linear(context_, group, x, y);
  nf4_linear_backward(context_, group, y, dx);
  lora_grad_a(context_, group, {}, x, dx);
  lora_grad_b(context_, group, x, y);
  EXPECT_EQ(flop_of("lora_down"), 2.0 * kTokens * (2 * kRank) * kIn);
  EXPECT_EQ(bytes_of("lora_down"), 2.0 * kTokens * (kIn + kLoraColumns));
  EXPECT_EQ(flop_of("nf4_linear"), 2.0 * kTokens * kOut * (kIn + kLoraColumns));
  EXPECT_EQ(flop_of("nf4_linear_backward"), 2.0 * kTokens * kOut * (kIn + kLoraColumns));
  EXPECT_EQ(flop_of("lora_grad_a"), 2.0 * kTokens * (2 * kRank) * kIn);
  EXPECT_EQ(flop_of("lora_grad_b"), 2.0 * kTokens * kRank * (32 + 24)) << "the module in the middle has no adapter";
  EXPECT_EQ(bytes_of("lora_grad_b"), 2.0 * kTokens * (32 + 24 + kLoraColumns));
}

// The FLOP of the two products over all pairs that are seen, where the pair of a token with itself counts half. The backward
// pass has five products.
TEST_F(OpWorkTest, OfAttentionIsThatOfThePairsItSees) {
  for (const std::int64_t window : {0, 40}) {
    OpProfile profile(Device::kCpu, nullptr);
    context_.profile = &profile;
    const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .window = window};
    const std::vector<std::int32_t> bounds = {0, 100, 130, 131};
    const Matrix qkv = random_matrix(DType::kF32, 131, 8 * 16, 3);
    Matrix out(DType::kF32, 131, 4 * 16), lse(DType::kF32, 4, 131), dqkv(DType::kF32, 131, 8 * 16);
    attention(context_, shape, qkv, bounds, out, lse);
    attention_backward(context_, shape, qkv, bounds, out, lse, out, std::nullopt, dqkv);
    double pairs = 0;
    for (const std::int64_t length : {100, 30, 1}) {
      for (std::int64_t query = 0; query < length; ++query) {
        for (std::int64_t key = 0; key <= query; ++key) {
          if (window > 0 && query - key > window) continue;
          // Both ends of a full window count half, the token itself and the first one beyond: together its length.
          pairs += key == query || (window > 0 && query - key == window) ? 0.5 : 1.0;
        }
      }
    }
    const auto lines = profile.lines();
    EXPECT_DOUBLE_EQ(find(lines, "attention")->work.flop, 4 * pairs * 4 * 16) << window;
    EXPECT_DOUBLE_EQ(find(lines, "attention_backward")->work.flop, 10 * pairs * 4 * 16) << window;
  }
}

TEST_F(OpWorkTest, OfOpsThatWaitForMemoryIsWhatTheyMove) {
  const std::vector<std::int32_t> ids = {1, 0, 2};
  const Matrix table = random_matrix(DType::kBf16, 3, 32, 4), weight = random_matrix(DType::kBf16, 1, 32, 5);
  Matrix x(DType::kBf16, 3, 32, 8), delta(DType::kBf16, 3, 32), y(DType::kBf16, 3, 32), half(DType::kBf16, 3, 16);
  embed(context_, table, ids, x);
  EXPECT_EQ(bytes_of("embed"), 2.0 * 3 * 32 * 2);
  rms_norm(context_, x, std::nullopt, std::nullopt, weight, 1e-5f, y);
  rms_norm(context_, x, delta, x, weight, 1e-5f, y);
  EXPECT_EQ(bytes_of("rms_norm"), (2.0 + 4.0) * 3 * 32 * 2);
  rms_norm_backward(context_, x, weight, 1e-5f, y, std::nullopt, std::nullopt, delta);
  rms_norm_backward(context_, x, weight, 1e-5f, y, std::nullopt, delta, delta);
  EXPECT_EQ(bytes_of("rms_norm_backward"), (3.0 + 4.0) * 3 * 32 * 2);
  swiglu(context_, x, half);
  EXPECT_EQ(bytes_of("swiglu"), 3.0 * 3 * 16 * 2);
  swiglu_backward(context_, half, std::nullopt, x);
  EXPECT_EQ(bytes_of("swiglu_backward"), 5.0 * 3 * 16 * 2);
  rope(context_, make_rope_table(DType::kBf16, 8, 16, 1e4), ids, false, x);
  EXPECT_EQ(bytes_of("rope"), 2.0 * 3 * 32 * 2);
  base_checksum(context_, table.bytes().data(), 100);
  EXPECT_EQ(bytes_of("base_checksum"), 100.0);
}

TEST_F(OpWorkTest, OfTheHeadAndTheOptimizer) {
  const std::vector<std::int32_t> targets = {1, kIgnoredLabel, 2};
  const Matrix h = random_matrix(DType::kBf16, 3, 32, 6), head = random_matrix(DType::kBf16, 10, 32, 7);
  Matrix dh(DType::kBf16, 3, 32);
  std::vector<float> losses(3);
  head_loss(context_, h, head, targets, 1.0, losses, std::nullopt);
  EXPECT_EQ(flop_of("head_loss"), 2.0 * 3 * 10 * 32);
  head_loss(context_, h, head, targets, 1.0, losses, dh.view());
  EXPECT_EQ(flop_of("head_loss"), (1 + 2) * 2.0 * 3 * 10 * 32);

  std::vector<float> value(4096, 1.0f), gradient(4096, 1.0f), m(50), v(50), m_absmax(16), v_absmax(16);
  std::vector<std::uint8_t> m_codes(4096), v_codes(4096);
  std::vector<Bf16> copy(4096);
  gradient_norm(context_, std::vector<GradientSpan>{{gradient.data(), 4096}, {gradient.data(), 50}});
  EXPECT_EQ(bytes_of("gradient_norm"), 4146.0 * 4);
  AdamTensor large{value.data(), gradient.data(), 4096, 1}, small{value.data(), gradient.data(), 50, 1};
  large.m_codes = m_codes.data();
  large.v_codes = v_codes.data();
  large.m_absmax = m_absmax.data();
  large.v_absmax = v_absmax.data();
  large.rounded_copy = copy.data();
  large.copy_dtype = DType::kBf16;
  small.m = m.data();
  small.v = v.data();
  adamw8bit(context_, {.learning_rate = 1e-4f}, std::vector<AdamTensor>{large, small});
  EXPECT_EQ(bytes_of("adamw8bit"), 4096.0 * (8 + 4 + 4 + 2) + 50.0 * (8 + 4 + 16));
}

TEST(OpProfile, RatesAreWorkByTime) {
  const OpProfile::Line product{"product", 2, 0.5, {.flop = 4e12}}, copy{"copy", 1, 0.25, {.bytes = 5e8}},
      other{"other", 1, 0.25, {}};
  EXPECT_DOUBLE_EQ(product.tflop_per_second(), 8.0);
  EXPECT_DOUBLE_EQ(copy.gb_per_second(), 2.0);
  EXPECT_EQ(other.tflop_per_second(), 0.0);
  const std::string table = profile_table({product, copy, other});
  const std::vector<std::string> ends = {"8 TFLOP/s", "2 GB/s", "25.00 %", "4 TFLOP/s"};
  std::size_t begin = 0;
  for (const std::string& end : ends) {
    const std::string line = table.substr(begin, table.find('\n', begin) - begin);
    EXPECT_TRUE(line.ends_with(end)) << line;
    begin += line.size() + 1;
  }
}

}  // namespace
}  // namespace shori
