#include "shori/ops/adamw8bit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/optimizer/adamw8bit_math.h"
#include "shori/quant/blockwise8.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/hash.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

// One parameter tensor with its 8-bit state.
struct State {
  State(std::int64_t count, std::int64_t block)
      : p(count), g(count), m(count), v(count), m_absmax((count + block - 1) / block), v_absmax(m_absmax) {}
  std::vector<float> p, g;
  std::vector<std::uint8_t> m, v;
  std::vector<float> m_absmax, v_absmax;

  AdamTensor tensor(std::uint64_t step) {
    AdamTensor result;
    result.parameter = p.data();
    result.gradient = g.data();
    result.count = static_cast<std::int64_t>(p.size());
    result.step = step;
    result.m_codes = m.data();
    result.v_codes = v.data();
    result.m_absmax = m_absmax.data();
    result.v_absmax = v_absmax.data();
    return result;
  }
  bool operator==(const State&) const = default;
};

AdamSettings golden_settings() {
  return {.learning_rate = 7.25e-5f, .weight_decay = 0.05f, .zero_gradient_guard = false};
}

struct GoldenStep {
  std::uint32_t m_absmax, v_absmax, first, last;
  const char *p, *m, *v;
};
const GoldenStep kGolden[] = {
    {0x3d4cccd0, 0x39831200, 0xbdffd9c0, 0x3dfdd9c1, "3a3ae82fddc38321ccc8158f962ce2dbfc50ba2aa04457751d2921574026cc3e",
     "9d0ecf914ff5b544f9c81ad6f8a8653518b88dc736bf3c54a7b2799300c1b7e5",
     "b78a5d3297a736d5e73572a0c6c7cb8403c64d983eb8b865b9ac630629bec5e1"},
    {0x3d509fc1, 0x3984fcba, 0xbdffbce8, 0x3dfdbd94, "d63430dc4dd679d5ca7d226b479dda4c85e8c7be51516c2ef7348fb880a19c11",
     "13e909a3d4ec074517f2d7d26da3a984ae2178989e71ecc67d5746f7410c70bf",
     "52964349759e0f6d1982f75f95e59c339c25f0d106577d717dfe5a2d681c8394"},
    {0x3d473dcf, 0x39855dc1, 0xbdffa540, 0x3dfda7be, "ccdafcac10e8e323618f8d9622cfe14a17b545cf2ad72f0db3bbb7043a88d5c8",
     "11ede762178e3b9209eb4539fc02ecc4adb7ebc83df8c16d3ea77992d56e81b6",
     "928dd6ef1a06fcea620e52fd7242e8433cd7096235e049b6fec0adb4db1398db"}};

float golden_gradient(int step, int i) {
  if (step == 1) return static_cast<float>(i - 128) / 256.0f;
  if (step == 2) return static_cast<float>(37 * i % 256 - 128) / 2048.0f;
  return i % 2 == 1 ? 0.0f : static_cast<float>(i - 128) / 4096.0f;
}

TEST(AdamW8bit, GoldenStepsToTheBit) {
  TestContext context;
  State state(256, 256);
  for (int i = 0; i < 256; ++i) state.p[static_cast<std::size_t>(i)] = static_cast<float>(i - 128) / 1024.0f;
  for (int step = 1; step <= 3; ++step) {
    for (int i = 0; i < 256; ++i) state.g[static_cast<std::size_t>(i)] = golden_gradient(step, i);
    const AdamTensor tensor = state.tensor(static_cast<std::uint64_t>(step));
    adamw8bit(context, golden_settings(), {&tensor, 1});
    const GoldenStep& golden = kGolden[step - 1];
    EXPECT_EQ(bits_of(state.m_absmax[0]), golden.m_absmax);
    EXPECT_EQ(bits_of(state.v_absmax[0]), golden.v_absmax);
    EXPECT_EQ(bits_of(state.p.front()), golden.first);
    EXPECT_EQ(bits_of(state.p.back()), golden.last);
    EXPECT_EQ(to_hex(sha256(state.p.data(), 1024)), golden.p);
    EXPECT_EQ(to_hex(sha256(state.m.data(), 256)), golden.m);
    EXPECT_EQ(to_hex(sha256(state.v.data(), 256)), golden.v);
  }
}

// The rule of one block written a second time, one element and one operation at a time.
struct PlainAdam {
  AdamSettings settings;
  float largest = 0.0f;

  static std::uint8_t nearest(const float* map, float value) {
    if (std::isnan(value)) return 0;
    int best = 0;
    for (int j = 1; j < 256; ++j) {
      const float middle = (map[j - 1] + map[j]) * 0.5f;
      if (value > middle || (value == middle && j % 2 == 0)) best = j;
    }
    return static_cast<std::uint8_t>(best);
  }

  void step_block(State& state, std::uint64_t t, std::size_t first, std::size_t count, std::size_t block) {
    const float c1 = 1.0f - static_cast<float>(std::pow(static_cast<double>(settings.beta1), static_cast<double>(t)));
    const float c2 =
        std::sqrt(1.0f - static_cast<float>(std::pow(static_cast<double>(settings.beta2), static_cast<double>(t))));
    const float numerator = -settings.learning_rate * c2;
    const float step_size = numerator / c1, eps = c2 * settings.eps;
    std::vector<float> m(count), v(count);
    float m_absmax = 0.0f, v_absmax = 0.0f;
    if (count < static_cast<std::size_t>(settings.block_size))
      m_absmax = dynamic_map_signed()[128] * state.m_absmax[block] * settings.beta1;
    for (std::size_t j = 0; j < count; ++j) {
      const std::size_t i = first + j;
      if (std::isfinite(state.g[i])) {
        const float g = state.g[i] * settings.gradient_scale;
        const float old_v = dynamic_map_unsigned()[state.v[i]] * state.v_absmax[block];
        const float old_m = dynamic_map_signed()[state.m[i]] * state.m_absmax[block];
        const float one_minus_beta2 = 1.0f - settings.beta2, one_minus_beta1 = 1.0f - settings.beta1;
        const float vg = one_minus_beta2 * g;
        v[j] = old_v * settings.beta2 + vg * g;
        m[j] = old_m * settings.beta1 + one_minus_beta1 * g;
        if (settings.zero_gradient_guard && v[j] == 0.0f) {
          m[j] = 0.0f;
        } else {
          const float update = step_size * (m[j] / (std::sqrt(v[j]) + eps));
          largest = std::max(largest, std::fabs(update));
          state.p[i] = state.p[i] + update;
        }
        if (settings.weight_decay > 0.0f) {
          const float decay = settings.learning_rate * settings.weight_decay;
          state.p[i] = state.p[i] * (1.0f - decay);
        }
      }
      m_absmax = std::max(m_absmax, std::fabs(m[j]));
      v_absmax = std::max(v_absmax, v[j]);
    }
    for (std::size_t j = 0; j < count; ++j) {
      std::uint8_t code = nearest(dynamic_map_signed(), m[j] / m_absmax);
      if (std::signbit(dynamic_map_signed()[code]) != std::signbit(m[j]))
        code = static_cast<std::uint8_t>(m[j] > 0 ? code + 1 : code - 1);
      const bool zeroed = settings.zero_gradient_guard && v[j] == 0.0f;
      state.m[first + j] = zeroed ? kZeroCodeM : code;
      state.v[first + j] = zeroed ? 0 : nearest(dynamic_map_unsigned(), v[j] / v_absmax);
    }
    state.m_absmax[block] = m_absmax;
    state.v_absmax[block] = v_absmax;
  }
  void step(State& state, std::uint64_t t) {
    const auto size = static_cast<std::size_t>(settings.block_size);
    for (std::size_t block = 0; block * size < state.p.size(); ++block) {
      step_block(state, t, block * size, std::min(size, state.p.size() - block * size), block);
    }
  }
};

// Gradients of every kind: exact zeros, magnitudes far apart, some NaN and infinity.
void random_gradient(State& state, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  for (float& g : state.g) {
    const std::uint32_t kind = generator() % 64;
    g = normal(generator) * std::pow(10.0f, static_cast<float>(generator() % 9) - 6.0f);
    if (kind < 4) g = kind < 2 ? 0.0f : -0.0f;
    if (kind == 5) g = std::numeric_limits<float>::quiet_NaN();
    if (kind == 6) g = -std::numeric_limits<float>::infinity();
  }
}

class AdamFuzz : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, bool>> {};

TEST_P(AdamFuzz, EqualsThePlainRuleToTheBit) {
  const auto [count, block, guard] = GetParam();
  TestContext context;
  const AdamSettings settings{.learning_rate = 1e-3f,
                              .weight_decay = 0.05f,
                              .block_size = block,
                              .zero_gradient_guard = guard,
                              .gradient_scale = 0.7f};
  State state(count, block);
  std::mt19937 generator(static_cast<std::uint32_t>(count));
  for (float& p : state.p) p = static_cast<float>(generator() % 1000) * 1e-3f - 0.5f;
  State expected = state;
  for (std::uint64_t step = 1; step <= 12; ++step) {
    random_gradient(state, generator);
    // Without a finite gradient, only the lanes past the end of a short block count for the absmax of its momentum.
    if (step == 6) std::ranges::fill(state.g, std::numeric_limits<float>::quiet_NaN());
    expected.g = state.g;
    PlainAdam plain{settings};
    plain.step(expected, step);
    const AdamTensor tensor = state.tensor(step);
    const AdamReport report = adamw8bit(context, settings, {&tensor, 1});
    EXPECT_EQ(report.update_max, plain.largest);
    ASSERT_EQ(std::memcmp(state.p.data(), expected.p.data(), 4 * state.p.size()), 0) << "step " << step;
    ASSERT_EQ(state.m, expected.m);
    ASSERT_EQ(state.v, expected.v);
    ASSERT_EQ(state.m_absmax, expected.m_absmax);
    ASSERT_EQ(state.v_absmax, expected.v_absmax);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, AdamFuzz,
                         testing::Combine(testing::Values<std::int64_t>(1, 255, 256, 5000),
                                          testing::Values<std::int64_t>(256, 2048), testing::Bool()));

TEST(AdamW8bit, SmallTensorsKeepMomentsInFullPrecision) {
  TestContext context;
  const AdamSettings settings{
      .learning_rate = 1e-2f, .weight_decay = 0.1f, .zero_gradient_guard = false, .gradient_scale = 0.5f};
  std::vector<float> p(100, 0.25f), g(100), m(100), v(100);
  std::vector<double> exact_p(100, 0.25), exact_m(100), exact_v(100);
  std::mt19937 generator(1);
  for (std::uint64_t step = 1; step <= 20; ++step) {
    for (float& value : g) value = static_cast<float>(generator() % 2001) * 1e-3f - 1.0f;
    const AdamTensor tensor{
        .parameter = p.data(), .gradient = g.data(), .count = 100, .step = step, .m = m.data(), .v = v.data()};
    adamw8bit(context, settings, {&tensor, 1});
    for (std::size_t i = 0; i < 100; ++i) {
      const double gradient = 0.5 * static_cast<double>(g[i]);
      exact_m[i] = 0.9 * exact_m[i] + 0.1 * gradient;
      exact_v[i] = 0.999 * exact_v[i] + 0.001 * gradient * gradient;
      const double m_hat = exact_m[i] / (1 - std::pow(0.9, static_cast<double>(step)));
      const double v_hat = exact_v[i] / (1 - std::pow(0.999, static_cast<double>(step)));
      exact_p[i] = (exact_p[i] - 1e-2 * m_hat / (std::sqrt(v_hat) + 1e-8)) * (1 - 1e-2 * 0.1);
    }
  }
  // fp32 betas differ from the decimal ones by up to 2.4e-5 of 1 - beta2; 20 steps of 1e-2.
  for (std::size_t i = 0; i < 100; ++i) EXPECT_NEAR(p[i], exact_p[i], 2e-5);
}

// Old momentum must not move an element whose gradient is exactly 0.
TEST(AdamW8bit, GuardKeepsCoordinatesWithoutGradientStill) {
  TestContext context;
  for (const bool guard : {true, false}) {
    State state(4096, 256);
    float moved = 0.0f;
    for (std::uint64_t step = 1; step <= 200; ++step) {
      for (std::size_t i = 0; i < 4096; ++i) state.g[i] = i % 8 == 3 ? -0.0f : 1.0f;
      const AdamSettings settings{.learning_rate = 1e-3f, .zero_gradient_guard = guard};
      const AdamTensor tensor = state.tensor(step);
      adamw8bit(context, settings, {&tensor, 1});
    }
    for (std::size_t i = 3; i < 4096; i += 8) moved = std::max(moved, std::fabs(state.p[i]));
    if (guard) {
      EXPECT_EQ(moved, 0.0f);
      EXPECT_EQ(state.m[3], kZeroCodeM);
      EXPECT_EQ(state.v[3], 0);
    } else {
      EXPECT_GT(moved, 1e-3f) << "without the guard the hazard is there";
    }
  }
}

TEST(AdamW8bit, CopiesAreRoundedFromTheNewParameter) {
  TestContext context;
  State state(300, 256);
  for (std::size_t i = 0; i < 300; ++i) state.g[i] = static_cast<float>(i) - 100.0f;
  std::vector<Bf16> copy(300);
  std::vector<float> wide(300);
  AdamTensor tensor = state.tensor(1);
  tensor.rounded_copy = copy.data();
  tensor.copy_dtype = DType::kBf16;
  tensor.copy_scale = 0.8f;
  adamw8bit(context, {.learning_rate = 1e-3f}, {&tensor, 1});
  for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ(copy[i].bits, to_bf16(0.8f * state.p[i]).bits);
  tensor = state.tensor(2);
  tensor.rounded_copy = wide.data();
  adamw8bit(context, {.learning_rate = 1e-3f}, {&tensor, 1});
  EXPECT_EQ(wide, state.p);
}

TEST(AdamW8bit, ReportNamesTheLargestUpdateAndThreadsDoNotMatter) {
  constexpr std::size_t kBlock = 256, kLargest = 7777;
  TestContext context;
  const auto run = [&] {
    State first(5000, 256), second(9000, 256);
    for (std::size_t i = 0; i < 5000; ++i) first.g[i] = std::sin(static_cast<float>(i));
    for (std::size_t i = 0; i < 9000; ++i) second.g[i] = std::cos(static_cast<float>(i));
    // m is large beside sqrt(v) in this element only, as after a large gradient and a small one.
    second.m[kLargest] = 255;
    second.m_absmax[kLargest / kBlock] = 5.0f;
    for (std::size_t i = kLargest / kBlock * kBlock; i < kLargest / kBlock * kBlock + kBlock; ++i) {
      if (i != kLargest) second.m[i] = kZeroCodeM;
    }
    const AdamTensor tensors[] = {first.tensor(1), second.tensor(1)};
    const AdamReport report = adamw8bit(context, {.learning_rate = 1e-3f}, tensors);
    EXPECT_EQ(report.tensor, 1);
    EXPECT_EQ(report.element, static_cast<std::int64_t>(kLargest));
    return std::tuple(first.p, first.m, first.v, second.p, second.m, second.v, report.update_max);
  };
  expect_same_bytes_for_threads(run);
}

TEST(AdamW8bit, TensorsWithoutOrWithTwoStatesAreRefused) {
  TestContext context;
  State state(10, 256);
  std::vector<float> m(10), v(10);
  AdamTensor tensor = state.tensor(1);
  tensor.m = m.data();
  tensor.v = v.data();
  EXPECT_ANY_THROW(adamw8bit(context, {}, {&tensor, 1}));
  tensor.m_codes = tensor.v_codes = nullptr;
  EXPECT_NO_THROW(adamw8bit(context, {}, {&tensor, 1}));
  tensor.m = nullptr;
  EXPECT_ANY_THROW(adamw8bit(context, {}, {&tensor, 1}));
  tensor = state.tensor(0);
  EXPECT_ANY_THROW(adamw8bit(context, {}, {&tensor, 1}));
}

}  // namespace
}  // namespace shori
