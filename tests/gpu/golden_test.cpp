// Our NF4, double quantization and AdamW against what bitsandbytes' CUDA kernels gave: the file that
// scripts/make_golden.py makes on a GPU, in tests/golden, or where SHORI_GOLDENS says. Without it the cases are skipped
// where there is no GPU, and fail where there is one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/ops/adamw8bit.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/bf16.h"
#include "shori/util/error.h"
#include "tests/support/machine_gpu.h"
#include "tests/support/nf4_vectors.h"

namespace shori {
namespace {

std::string golden_path() {
  if (const char* path = std::getenv("SHORI_GOLDENS")) return path;
  const char* data = std::getenv("SHORI_TEST_DATA");
  return std::string(data ? data : "tests") + "/golden/bitsandbytes_cuda.safetensors";
}

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(golden_path())) {
      if (testing::machine_has_gpu())
        FAIL() << "no golden file: `scripts/make_golden.py --out " << golden_path() << "` makes it";
      GTEST_SKIP() << "no GPU, on which scripts/make_golden.py makes " << golden_path();
    }
    file_.emplace(SafetensorsFile::open(InputFile::open(golden_path())));
  }

  template <class T>
  std::vector<T> read(const std::string& name) const {
    const TensorEntry* entry = file_->find(name);
    SHORI_CHECK(entry != nullptr && dtype_size(entry->dtype) == sizeof(T), "golden file: " + name);
    std::vector<T> values(entry->bytes() / sizeof(T));
    file_->read(*entry, 0, values.data(), entry->bytes());
    return values;
  }
  std::vector<std::int64_t> shape(const std::string& name) const { return file_->find(name)->shape; }
  const SafetensorsFile& file() const { return *file_; }

 private:
  std::optional<SafetensorsFile> file_;
};

std::int64_t ulps_apart(float a, float b) {
  const auto ordered = [](float value) {
    const auto bits = std::bit_cast<std::int32_t>(value);
    return std::int64_t{bits < 0 ? std::int32_t{std::bit_cast<std::int32_t>(0x80000000u)} - bits : bits};
  };
  return std::abs(ordered(a) - ordered(b));
}

// The share of entries that are equal. The others may differ by at most `max_difference`.
double equal_share(const std::vector<std::uint8_t>& got, const std::vector<std::uint8_t>& wanted, int max_difference) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    equal += got[i] == wanted[i];
    EXPECT_LE(std::abs(int{got[i]} - int{wanted[i]}), max_difference) << i;
  }
  return static_cast<double>(equal) / static_cast<double>(wanted.size());
}

// A map made on a machine without AVX2 is up to 2 ulp away.
TEST_F(Golden, Maps) {
  for (const auto& [name, ours] :
       {std::pair{"map.signed", dynamic_map_signed()}, {"map.unsigned", dynamic_map_unsigned()}}) {
    const auto theirs = read<float>(name);
    ASSERT_EQ(theirs.size(), 256u);
    for (std::size_t i = 0; i < 256; ++i) EXPECT_LE(ulps_apart(ours[i], theirs[i]), 2) << name << ' ' << i;
  }
}

TEST_F(Golden, Nf4) {
  for (const std::string name : {"normal", "outliers", "scales", "zero_blocks"}) {
    SCOPED_TRACE(name);
    const std::string prefix = "nf4." + name + ".";
    std::vector<float> values;
    for (const Bf16 value : read<Bf16>(prefix + "input")) values.push_back(to_float(value));
    const auto size = shape(prefix + "input");
    const Nf4Vectors ours = quantize_nf4(values, size[0], size[1]).value();
    EXPECT_EQ(ours.codes, read<std::uint8_t>(prefix + "codes"));

    // Double quantization: the offset is a mean whose order of summation is not specified.
    const auto absmax = read<float>(prefix + "absmax");
    std::vector<std::uint8_t> nested(ours.absmax.size());
    std::vector<float> nested_absmax2(ours.absmax2.size());
    quantize_absmax(absmax, nested.data(), nested_absmax2.data());
    EXPECT_EQ(nested, ours.absmax) << "our own absmax is another one";
    const float offset = read<float>(prefix + "offset").front();
    EXPECT_NEAR(ours.offset, offset, 1e-6 * std::fabs(offset));
    EXPECT_GE(equal_share(ours.absmax, read<std::uint8_t>(prefix + "nested"), 1), 0.999);
    const auto nested_absmax = read<float>(prefix + "nested_absmax");
    ASSERT_EQ(ours.absmax2.size(), nested_absmax.size());
    for (std::size_t i = 0; i < nested_absmax.size(); ++i) {
      EXPECT_NEAR(ours.absmax2[i], nested_absmax[i], 1e-6 * nested_absmax[i]) << i;
    }
  }
}

TEST_F(Golden, Nf4DecodesTheirStateToTheirValues) {
  for (const std::string name : {"normal", "outliers", "scales", "zero_blocks"}) {
    SCOPED_TRACE(name);
    const std::string prefix = "nf4." + name + ".";
    const auto size = shape(prefix + "input");
    Nf4Vectors state({size[0], size[1]});
    state.codes = read<std::uint8_t>(prefix + "codes");
    state.absmax = read<std::uint8_t>(prefix + "nested");
    state.absmax2 = read<float>(prefix + "nested_absmax");
    state.offset = read<float>(prefix + "offset").front();
    std::vector<float> ours(static_cast<std::size_t>(state.layout.count()));
    dequantize_nf4(state, 0, ours);
    const auto theirs = read<Bf16>(prefix + "decoded");
    std::size_t different = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) different += ours[i] != to_float(theirs[i]);
    EXPECT_EQ(different, 0u) << "of " << ours.size();
  }
}

struct AdamState {
  std::vector<float> p, m_absmax, v_absmax;
  std::vector<std::uint8_t> m, v;
};

class GoldenAdam : public Golden {
 protected:
  AdamState state(const std::string& prefix) const {
    return {read<float>(prefix + "p"), read<float>(prefix + "m_absmax"), read<float>(prefix + "v_absmax"),
            read<std::uint8_t>(prefix + "m"), read<std::uint8_t>(prefix + "v")};
  }

  // torch.roll(g, 37 t) * (1 + t / 64).
  static std::vector<float> gradient(const std::vector<float>& base, std::uint64_t step) {
    std::vector<float> rolled(base.size());
    const float scale = static_cast<float>(1.0 + static_cast<double>(step) / 64);
    for (std::size_t i = 0; i < base.size(); ++i) rolled[(i + 37 * step) % base.size()] = base[i] * scale;
    return rolled;
  }

  static void update(AdamState& state, const std::vector<float>& gradient, std::uint64_t step) {
    Workspace workspace;
    const OpContext context{.workspace = &workspace};
    AdamTensor tensor{.parameter = state.p.data(),
                      .gradient = gradient.data(),
                      .count = std::ssize(state.p),
                      .step = step,
                      .m_codes = state.m.data(),
                      .v_codes = state.v.data(),
                      .m_absmax = state.m_absmax.data(),
                      .v_absmax = state.v_absmax.data()};
    adamw8bit(context, {.learning_rate = 1e-3f, .weight_decay = 0.05f, .zero_gradient_guard = false}, {&tensor, 1});
  }
};

TEST_F(GoldenAdam, OneStepFromTheirState) {
  const auto base = read<float>("adam.g");
  for (const std::uint64_t step : {1u, 2u, 3u, 20u, 100u}) {
    SCOPED_TRACE("step " + std::to_string(step));
    const std::string prefix = "adam." + std::to_string(step) + ".";
    const AdamState before = state(prefix), theirs = state(prefix + "after.");
    AdamState ours = before;
    update(ours, gradient(base, step), step);
    // powf of CUDA may be a few ulp away, which the bias correction of the first steps magnifies.
    const double bound = step <= 3 ? 3e-4 : 2e-5;
    for (std::size_t i = 0; i < ours.p.size(); ++i) {
      const double change = std::fabs(double{theirs.p[i]} - before.p[i]);
      const double rounding = 2 * std::ldexp(std::fabs(double{theirs.p[i]}), -23);
      ASSERT_NEAR(ours.p[i], theirs.p[i], bound * change + rounding) << i;
    }
    for (std::size_t i = 0; i < ours.m_absmax.size(); ++i) {
      EXPECT_NEAR(ours.m_absmax[i], theirs.m_absmax[i], 2e-6 * theirs.m_absmax[i]) << i;
      EXPECT_NEAR(ours.v_absmax[i], theirs.v_absmax[i], 2e-6 * theirs.v_absmax[i]) << i;
    }
    EXPECT_GE(equal_share(ours.m, theirs.m, 1), 0.998);
    EXPECT_GE(equal_share(ours.v, theirs.v, 1), 0.998);
  }
}

TEST_F(GoldenAdam, HundredStepsStayTogether) {
  const auto base = read<float>("adam.g");
  AdamState ours = state("adam.1.");
  const std::vector<float> start = ours.p, theirs = read<float>("adam.100.after.p");
  for (std::uint64_t step = 1; step <= 100; ++step) update(ours, gradient(base, step), step);
  double difference = 0, displacement = 0;
  for (std::size_t i = 0; i < start.size(); ++i) {
    difference += std::pow(double{ours.p[i]} - theirs[i], 2);
    displacement += std::pow(double{theirs[i]} - start[i], 2);
  }
  EXPECT_LE(std::sqrt(difference), 1e-3 * std::sqrt(displacement));
}

}  // namespace
}  // namespace shori
