// Output head and cross-entropy on the device: the softmax kernel against fp64, the op against the CPU version.
#include "shori/ops/head_loss.h"

#include "kernels/loss/head_loss_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/util/ignored_label.h"
#include "tests/support/device_test.h"

namespace shori {
namespace {

using testing::DeviceArray;
using testing::normal_bf16;
using testing::TwinMatrix;

constexpr float kWeight = 0.125f / 3;

std::vector<std::int32_t> some_targets(std::int64_t rows, std::int64_t vocabulary) {
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < rows; ++row) {
    targets.push_back(row % 7 == 5 ? kIgnoredLabel : static_cast<std::int32_t>(row * 7919 % vocabulary));
  }
  return targets;
}

class HeadLossDevice : public testing::DeviceTest {
 protected:
  // See Nf4LinearDevice: the emulator's products take nothing of the workspace.
  static std::size_t bytes_for(std::int64_t tokens, std::int64_t vocabulary) {
    return head_loss_workspace_bytes(tokens, vocabulary) - (device_backend() == "emulated" ? kMatmulWorkspaceBytes : 0);
  }
};

TEST_F(HeadLossDevice, SoftmaxKernelMatchesFp64) {
  for (const auto& [rows, vocabulary] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{3, 8}, {6, 4104}, {7, 1000}, {1, 32000}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(vocabulary));
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
        double most = -INFINITY, sum = 0;
        for (std::int64_t i = 0; i < vocabulary; ++i) most = std::max(most, double{to_float(in[i])});
        for (std::int64_t i = 0; i < vocabulary; ++i) sum += std::exp(to_float(in[i]) - most);
        if (target == kIgnoredLabel) {
          ASSERT_EQ(got_losses[static_cast<std::size_t>(row)], 0.0f);
          for (std::int64_t i = 0; i < vocabulary; ++i) ASSERT_EQ(out[i].bits, 0) << row << ", " << i;
          continue;
        }
        // fp32 sums of up to 32,000 terms by 512 threads, expf within 2 ulp: 1e-5 is far above that and below 1 ulp of
        // the bf16 logits.
        const double loss = most - to_float(in[target]) + std::log(sum);
        ASSERT_NEAR(got_losses[static_cast<std::size_t>(row)], loss, 1e-5 * std::max(1.0, loss)) << row;
        for (std::int64_t i = 0; i < vocabulary; ++i) {
          const double share = std::exp(to_float(in[i]) - most) / sum, wanted = (share - (i == target)) * kWeight;
          // One bf16 rounding, and 1e-7 of the target's `share - 1` where that cancels.
          ASSERT_NEAR(to_float(out[i]), wanted, std::fabs(wanted) * 0x1p-8 + (i == target ? 3e-7 * kWeight : 1e-38))
              << row << ", " << i;
        }
      }
    });
  }
}

struct Case {
  std::int64_t tokens, cols, vocabulary;
};

TEST_F(HeadLossDevice, MatchesCpu) {
  for (const Case& shape : {Case{1, 8, 8}, Case{15, 64, 512}, Case{65, 128, 1000}, Case{kLossChunk + 1, 8, 16}}) {
    SCOPED_TRACE(std::to_string(shape.tokens) + " tokens");
    const auto count = static_cast<std::size_t>(shape.tokens * (shape.cols + 8));
    TwinMatrix<Bf16> h(shape.tokens, shape.cols, normal_bf16(count, 1), shape.cols + 8);
    TwinMatrix<Bf16> weight(shape.vocabulary, shape.cols,
                            normal_bf16(static_cast<std::size_t>(shape.vocabulary * shape.cols), 2,
                                        2.0f / std::sqrt(static_cast<float>(shape.cols))));
    TwinMatrix<Bf16> dh(shape.tokens, shape.cols, std::vector<Bf16>(count), shape.cols + 8);
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
    // Logits whose fp32 sum lies near a tie of bf16 may be an ulp (2^-8) apart, few of them; the rest is equal to 1e-6.
    EXPECT_LE(testing::relative_error(got, losses), 1e-3);
    EXPECT_LE(testing::relative_error(testing::floats(dh.device_values()), testing::floats(dh.host_values())), 2e-3);
    for (std::size_t token = 0; token < targets.size(); ++token) {
      if (targets[token] != kIgnoredLabel) continue;
      ASSERT_EQ(got[token], 0.0f);
      for (std::int64_t col = 0; col < shape.cols; ++col) {
        ASSERT_EQ(
            to_float(
                dh.device_values()[token * static_cast<std::size_t>(shape.cols + 8) + static_cast<std::size_t>(col)]),
            0.0f);
      }
      break;  // one row, as the copy is whole each time
    }

    head_loss(context, h.device(), weight.device(), both, kWeight, device_span, std::nullopt);
    EXPECT_EQ(device_losses.to_host(), got) << "losses without gradient";
  }
}

}  // namespace
}  // namespace shori
