// Output head and cross-entropy on the device: the softmax kernel against fp64, the op against the CPU version.
#include "shori/ops/head_loss.h"

#include "kernels/loss/head_loss_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/util/ignored_label.h"
#include "shori/util/text.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::normal_bf16;
using testing::TwinMatrix;

constexpr float kWeight = 0.125f / 3;

std::vector<std::int32_t> some_targets(std::int64_t rows, std::int64_t vocabulary) {
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < rows; ++row) {
    // A prime between keeps chunks of a power of two from having the same targets.
    targets.push_back(row % 7 == 5 ? kIgnoredLabel : static_cast<std::int32_t>(row * 7919 % 9973 % vocabulary));
  }
  return targets;
}

class HeadLossDevice : public testing::DeviceTest {
 protected:
  // The emulator's products take no workspace (see Nf4LinearDevice).
  static std::size_t bytes_for(std::int64_t tokens, std::int64_t vocabulary) {
    return head_loss_workspace_bytes(tokens, vocabulary) - (device_backend() == "emulated" ? kMatmulWorkspaceBytes : 0);
  }
};

TEST_F(HeadLossDevice, SoftmaxKernelMatchesFp64) {
  struct Case {
    const char* why;
    std::int64_t rows, vocabulary;
  };
  for (const auto& [why, rows, vocabulary] :
       {Case{.why = "one vector for all threads", .rows = 3, .vocabulary = 8},
        Case{.why = "one vector more than the threads have", .rows = 6, .vocabulary = 4104},
        Case{.why = "fewer vectors than threads; an ignored row", .rows = 7, .vocabulary = 1000},
        Case{.why = "Mistral's vocabulary", .rows = 1, .vocabulary = 32000}}) {
    SCOPED_TRACE(why);
    std::vector<Bf16> values = normal_bf16(static_cast<std::size_t>(rows * vocabulary), 4, 3.0f);
    values[1] = to_bf16(-INFINITY);
    values[2] = to_bf16(60.0f);  // one value alone, far above the rest
    const std::vector<std::int32_t> targets = some_targets(rows, vocabulary);
    const DeviceArray<std::int32_t> device_targets(targets);
    for_each_schedule([&] {
      const DeviceArray<Bf16> logits(values);
      const DeviceArray<float> losses(targets.size());
      launch_head_loss({logits.get(), device_targets.get(), losses.get(), rows, vocabulary, kWeight, true}, nullptr);
      const std::vector<float> got_losses = losses.to_host();
      const std::vector<Bf16> gradient = logits.to_host();
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int32_t target = targets[static_cast<std::size_t>(row)];
        const Bf16* in = values.data() + row * vocabulary;
        const Bf16* out = gradient.data() + row * vocabulary;
        double maximum = -INFINITY, sum = 0;
        for (std::int64_t i = 0; i < vocabulary; ++i) maximum = std::max(maximum, double{to_float(in[i])});
        for (std::int64_t i = 0; i < vocabulary; ++i) sum += std::exp(to_float(in[i]) - maximum);
        if (target == kIgnoredLabel) {
          ASSERT_EQ(got_losses[static_cast<std::size_t>(row)], 0.0f);
          for (std::int64_t i = 0; i < vocabulary; ++i) ASSERT_EQ(out[i].bits, 0) << row << ", " << i;
          continue;
        }
        // 512 threads sum up to 32,000 terms in fp32, with expf within 2 ulp. 1e-5 is far above their error and below
        // 1 ulp of the bf16 logits.
        const double loss = maximum - to_float(in[target]) + std::log(sum);
        ASSERT_NEAR(got_losses[static_cast<std::size_t>(row)], loss, 1e-5 * std::max(1.0, loss)) << row;
        for (std::int64_t i = 0; i < vocabulary; ++i) {
          const double share = std::exp(to_float(in[i]) - maximum) / sum, expected = (share - (i == target)) * kWeight;
          // One bf16 rounding and, for the target, a few 1e-7 of `share - 1`, which cancels.
          ASSERT_NEAR(to_float(out[i]), expected, std::fabs(expected) * 0x1p-8 + (i == target ? 3e-7 * kWeight : 1e-38))
              << row << ", " << i;
        }
      }
    });
  }
}

TEST_F(HeadLossDevice, MatchesCpu) {
  struct Case {
    const char* why;
    std::int64_t tokens, cols, vocabulary;
  };
  constexpr std::int64_t kGap = 8;  // elements between rows of h and dh
  for (const Case& shape :
       {Case{.why = "the smallest of everything", .tokens = 1, .cols = 8, .vocabulary = 8},
        Case{.why = "a vocabulary of whole tiles", .tokens = 15, .cols = 64, .vocabulary = 512},
        Case{.why = "a vocabulary of cut tiles", .tokens = 65, .cols = 128, .vocabulary = 1000},
        Case{.why = "three tokens more than a chunk", .tokens = kLossChunk + 3, .cols = 8, .vocabulary = 16}}) {
    SCOPED_TRACE(shape.why);
    const std::int64_t stride = shape.cols + kGap;
    const auto count = static_cast<std::size_t>(shape.tokens * stride);
    TwinMatrix<Bf16> h(shape.tokens, shape.cols, normal_bf16(count, 1), stride);
    TwinMatrix<Bf16> weight(shape.vocabulary, shape.cols,
                            normal_bf16(static_cast<std::size_t>(shape.vocabulary * shape.cols), 2,
                                        2.0f / std::sqrt(static_cast<float>(shape.cols))));
    TwinMatrix<Bf16> dh(shape.tokens, shape.cols, std::vector<Bf16>(count), stride);
    const std::vector<std::int32_t> targets = some_targets(shape.tokens, shape.vocabulary);
    const DeviceArray<std::int32_t> device_targets(targets);
    std::vector<float> losses(targets.size());
    head_loss(cpu(), h.host(), weight.host(), targets, kWeight, losses, dh.host());

    const DeviceArray<float> device_losses(targets.size());
    const std::span<float> device_span(device_losses.get(), device_losses.size());
    const OpContext context = device(bytes_for(shape.tokens, shape.vocabulary));
    const Int32Array both(targets, device_targets.get());
    head_loss(context, h.device(), weight.device(), both, kWeight, device_span, dh.device());
    EXPECT_LE(device_workspace().peak_bytes(), bytes_for(shape.tokens, shape.vocabulary));
    const std::vector<float> got = device_losses.to_host();
    // The few logits whose fp32 sum lies near a tie of bf16 may be an ulp (2^-8) apart; the others differ by 1e-6.
    EXPECT_LE(testing::relative_error(got, losses), 1e-3);
    for (std::int64_t chunk = kLossChunk; chunk < shape.tokens; chunk += kLossChunk) {
      const auto later = [&](const std::vector<float>& all) {
        return std::vector<float>(all.begin() + chunk, all.end());
      };
      EXPECT_LE(testing::relative_error(later(got), later(losses)), 1e-2) << "after the first chunk";
    }
    EXPECT_LE(testing::relative_error(testing::floats(dh.device_values()), testing::floats(dh.host_values())), 2e-3);
    const std::vector<Bf16> device_dh = dh.device_values();
    for (std::size_t token = 0; token < targets.size(); ++token) {
      if (targets[token] != kIgnoredLabel) continue;
      ASSERT_EQ(got[token], 0.0f);
      for (std::int64_t col = 0; col < shape.cols; ++col) {
        ASSERT_EQ(to_float(device_dh[token * static_cast<std::size_t>(stride) + static_cast<std::size_t>(col)]), 0.0f);
      }
    }

    head_loss(context, h.device(), weight.device(), both, kWeight, device_span, std::nullopt);
    EXPECT_EQ(device_losses.to_host(), got) << "losses without gradient";
  }
}

}  // namespace
}  // namespace shori
