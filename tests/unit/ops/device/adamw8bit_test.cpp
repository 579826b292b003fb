// AdamW on the device against the CPU version, bit for bit.
#include "shori/ops/adamw8bit.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>

#include "kernels/optimizer/adamw8bit_launch.h"
#include "shori/util/math.h"
#include "shori/util/text.h"
#include "tests/support/device_test.h"

namespace shori {
namespace {

using testing::DeviceTest;

using AdamDevice = DeviceTest;

struct Shape {
  const char* why;
  std::int64_t count;
  DType copy = DType::kBf16;
  bool has_copy = true;
};

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// All arrays of one tensor on the host.
struct HostState {
  HostState(const Shape& shape, std::int64_t block_size)
      : shape(shape),
        p(elements()),
        g(elements()),
        m(is_small() ? elements() : 0),
        v(m.size()),
        m_absmax(is_small() ? 0 : static_cast<std::size_t>(ceil_div(shape.count, block_size))),
        v_absmax(m_absmax.size()),
        m_codes(is_small() ? 0 : elements()),
        v_codes(m_codes.size()),
        copy(elements() * size_of(shape.copy)) {}
  std::size_t elements() const { return static_cast<std::size_t>(shape.count); }
  bool is_small() const { return shape.count < kMin8BitElements; }

  template <class Get>
  AdamTensor tensor(std::uint64_t step, Get&& get) {
    AdamTensor result;
    result.parameter = get(p);
    result.gradient = get(g);
    result.count = shape.count;
    result.step = step;
    if (is_small()) {
      result.m = get(m);
      result.v = get(v);
    } else {
      result.m_codes = get(m_codes);
      result.v_codes = get(v_codes);
      result.m_absmax = get(m_absmax);
      result.v_absmax = get(v_absmax);
    }
    if (shape.has_copy) result.rounded_copy = get(copy);
    result.copy_dtype = shape.copy;
    result.copy_scale = 0.8f;
    return result;
  }

  Shape shape;
  std::vector<float> p, g, m, v, m_absmax, v_absmax;
  std::vector<std::uint8_t> m_codes, v_codes, copy;
};

// Device copies of a state's vectors, each in an allocation of its own.
class DeviceCopies {
 public:
  template <class T>
  T* operator()(const std::vector<T>& values) {
    auto copy = std::make_shared<DeviceArray<T>>(values);
    fetches_.push_back([&values, copy] { return same_bytes(copy->to_host(), values); });
    return copy->get();
  }
  // Whether each array equals its host vector as it is now, in the order in which the copies were made.
  std::vector<bool> equal() const {
    std::vector<bool> result;
    for (const auto& fetch : fetches_) result.push_back(fetch());
    return result;
  }

 private:
  std::vector<std::function<bool()>> fetches_;
};

// Gradients of every kind: exact zeros, magnitudes far apart, NaN and infinity.
void fill_gradient(std::vector<float>& gradient, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  for (float& g : gradient) {
    const std::uint32_t kind = generator() % 64;
    g = normal(generator) * std::pow(10.0f, static_cast<float>(generator() % 9) - 6.0f);
    if (kind < 4) g = kind < 2 ? 0.0f : -0.0f;
    if (kind == 5) g = std::numeric_limits<float>::quiet_NaN();
    if (kind == 6) g = -std::numeric_limits<float>::infinity();
  }
}

struct Settings {
  std::int64_t block_size;
  bool guard;
  float decay;
};

class AdamDeviceCases : public DeviceTest, public ::testing::WithParamInterface<Settings> {};

TEST_P(AdamDeviceCases, EqualsTheCpuToTheBit) {
  const auto [block_size, guard, decay] = GetParam();
  const AdamSettings settings{.learning_rate = 1e-3f,
                              .weight_decay = decay,
                              .block_size = block_size,
                              .zero_gradient_guard = guard,
                              .gradient_scale = 0.7f};
  const Shape shapes[] = {
      {.why = "the smallest tensor with 8-bit moments; whole blocks", .count = kMin8BitElements},
      {.why = "one element", .count = 1},
      {.why = "fp32 moments and an fp32 copy", .count = 100, .copy = DType::kF32},
      {.why = "one element in the last block; no copy", .count = 4097, .has_copy = false},
      {.why = "a cut block and a cut quad; an fp32 copy", .count = 6151, .copy = DType::kF32},
      {.why = "fp32 moments in more than one chunk", .count = 2050},
      {.why = "a cut block of whole quads", .count = 4300},
  };
  std::vector<HostState> states;
  std::mt19937 generator(5);
  for (const Shape& shape : shapes) {
    states.emplace_back(shape, block_size);
    for (float& p : states.back().p) p = static_cast<float>(generator() % 1000) * 1e-3f - 0.5f;
  }
  for (std::uint64_t step = 1; step <= 3; ++step) {
    SCOPED_TRACE(concat("step ", step));
    for (HostState& state : states) {
      fill_gradient(state.g, generator);
      // Small tensors have no rule for NaN, so one would stay forever.
      if (state.is_small()) std::ranges::replace_if(state.g, [](float g) { return !std::isfinite(g); }, 0.5f);
      // The moments of a block of zeros are 0 / 0 times its scale.
      if (!state.is_small()) std::fill_n(state.g.begin() + block_size, block_size, 0.0f);
    }
    const std::vector<HostState> before = states;
    std::vector<AdamTensor> host_tensors;
    for (HostState& state : states) {
      host_tensors.push_back(state.tensor(step, [](auto& values) { return values.data(); }));
    }
    const AdamReport expected = adamw8bit(cpu(), settings, host_tensors);
    EXPECT_GT(expected.update_max, 0.0f);
    const std::vector<HostState> after = states;
    const auto block = static_cast<std::size_t>(block_size);
    EXPECT_EQ(after[0].m_codes[block] == kZeroCodeM && after[0].v_codes[block] == kZeroCodeV, guard)
        << "block of zeros";
    for_each_schedule([&] {
      states = before;
      DeviceCopies copies;
      std::vector<AdamTensor> tensors;
      for (HostState& state : states) tensors.push_back(state.tensor(step, copies));
      const AdamReport report = adamw8bit(device(kSmallWorkspace), settings, tensors);
      EXPECT_EQ(report.update_max, expected.update_max);
      EXPECT_EQ(report.tensor, expected.tensor);
      EXPECT_EQ(report.element, expected.element);
      states = after;  // what the copies are compared with
      const std::vector<bool> equal = copies.equal();
      ASSERT_EQ(equal, std::vector<bool>(equal.size(), true));
      ASSERT_LT(device_workspace().used_bytes(), 1u) << "the workspace is given back";
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, AdamDeviceCases,
                         ::testing::Values(Settings{.block_size = 256, .guard = true, .decay = 0.05f},
                                           Settings{.block_size = 256, .guard = false, .decay = 0.0f},
                                           Settings{.block_size = 2048, .guard = true, .decay = 0.0f},
                                           Settings{.block_size = 2048, .guard = false, .decay = 0.05f}));

// All updates are equal, and the report names the first of them, as on the CPU.
TEST_F(AdamDevice, ReportNamesTheFirstOfEquals) {
  for (const std::int64_t first_moving : {0, 3000, 9000}) {
    std::vector<float> p(9216), g(p.size()), absmax(36);
    for (std::size_t i = static_cast<std::size_t>(first_moving); i < g.size(); ++i) g[i] = -2.0f;
    const std::vector<std::uint8_t> codes(p.size());
    const DeviceArray<float> device_p(p), other_p(p), device_g(g), m_absmax(absmax), v_absmax(absmax),
        other_m_absmax(absmax), other_v_absmax(absmax), zero(std::vector<float>(p.size()));
    const DeviceArray<std::uint8_t> m(codes), v(codes), other_m(codes), other_v(codes);
    AdamTensor still{.parameter = other_p.get(),
                     .gradient = zero.get(),
                     .count = 9216,
                     .step = 1,
                     .m_codes = other_m.get(),
                     .v_codes = other_v.get(),
                     .m_absmax = other_m_absmax.get(),
                     .v_absmax = other_v_absmax.get()};
    AdamTensor moving{.parameter = device_p.get(),
                      .gradient = device_g.get(),
                      .count = 9216,
                      .step = 1,
                      .m_codes = m.get(),
                      .v_codes = v.get(),
                      .m_absmax = m_absmax.get(),
                      .v_absmax = v_absmax.get()};
    const AdamTensor tensors[] = {still, moving};
    const AdamReport report = adamw8bit(device(kSmallWorkspace), {.learning_rate = 1e-3f}, tensors);
    EXPECT_EQ(report.tensor, 1);
    EXPECT_EQ(report.element, first_moving);
    EXPECT_NEAR(report.update_max, 1e-3f, 1e-6f);
    const AdamReport none = adamw8bit(device(kSmallWorkspace), {.learning_rate = 1e-3f}, {tensors, 1});
    EXPECT_EQ(none.update_max, 0.0f);
    EXPECT_EQ(none.tensor, 0);
    EXPECT_EQ(none.element, 0);
  }
}

// More chunks than thread blocks, so that some blocks take several.
TEST_F(AdamDevice, LargeTensorsEqualTheCpu) {
  const AdamSettings settings{.learning_rate = 1e-3f, .weight_decay = 0.05f};
  HostState state({.why = "", .count = 1025 * kAdamChunk + 300}, settings.block_size);
  std::mt19937 generator(8);
  fill_gradient(state.g, generator);
  DeviceCopies copies;
  const AdamTensor on_device = state.tensor(1, copies);
  const AdamTensor on_host = state.tensor(1, [](auto& values) { return values.data(); });
  const AdamReport expected = adamw8bit(cpu(), settings, {&on_host, 1});
  const AdamReport report = adamw8bit(device(kSmallWorkspace), settings, {&on_device, 1});
  EXPECT_EQ(report.update_max, expected.update_max);
  EXPECT_EQ(report.element, expected.element);
  const std::vector<bool> equal = copies.equal();
  EXPECT_EQ(equal, std::vector<bool>(equal.size(), true));
}

TEST_F(AdamDevice, OtherBlockSizesAreRefused) {
  const DeviceArray<float> values(std::vector<float>(16));
  const AdamTensor tensor{.parameter = values.get(),
                          .gradient = values.get(),
                          .count = 16,
                          .step = 1,
                          .m = values.get(),
                          .v = values.get()};
  EXPECT_ANY_THROW(adamw8bit(device(kSmallWorkspace), {.block_size = 512}, {&tensor, 1}));
}

}  // namespace
}  // namespace shori
