// From files to weights on the device: the same bytes as in host memory.
#include <gtest/gtest.h>

#include <limits>

#include "shori/model/load_mistral.h"
#include "shori/ops/base_checksum.h"
#include "tests/support/device_test.h"
#include "tests/support/model_folder.h"
#include "tests/support/nf4_folder.h"

namespace shori {
namespace {

class LoadOnDevice : public testing::DeviceTest {
 protected:
  // An arena of what the plan says, and the weights loaded into it.
  MistralWeights load(const HfModel& model, LoadOptions options) {
    DeviceArena planned = DeviceArena::planning(ArenaKind::kDevice);
    allocate_weights(model.config(), weight_format(model, options.activation, options.quantize), &planned);
    arena_ = std::make_unique<DeviceArena>(ArenaKind::kDevice, planned.peak_bytes());
    options.arena = arena_.get();
    MistralWeights weights = load_mistral(model, options);
    arena_->check_guards();
    EXPECT_EQ(arena_->used_bytes(), planned.used_bytes()) << "what loading took is given back";
    return weights;
  }
  // The arena is the one of load().
  static std::uint64_t combined(const OpContext& context, const MistralWeights& weights) {
    return checksum_base(context, weights).combined();
  }
  // Checksums of all tensors: equal exactly if the bytes are.
  void expect_same(const HfModel& model, const LoadOptions& options) {
    const MistralWeights on_host = load_mistral(model, options), on_device = load(model, options);
    const BaseChecksums wanted = checksum_base(cpu(), on_host), got = checksum_base(device(), on_device);
    ASSERT_EQ(got.entries.size(), wanted.entries.size());
    for (std::size_t i = 0; i < got.entries.size(); ++i) {
      EXPECT_EQ(got.entries[i].tensor, wanted.entries[i].tensor);
      EXPECT_EQ(got.entries[i].sum, wanted.entries[i].sum) << wanted.entries[i].tensor;
    }
    EXPECT_EQ(on_device.zero_blocks, on_host.zero_blocks);
    EXPECT_EQ(on_device.fingerprint, on_host.fingerprint);
  }
  std::unique_ptr<DeviceArena> arena_;
};

TEST_F(LoadOnDevice, EqualsTheHostForEveryFileType) {
  for (const FileDType dtype : {FileDType::kBf16, FileDType::kF16, FileDType::kF32}) {
    SCOPED_TRACE(std::string(dtype_name(dtype)));
    ModelFolder folder({.dtype = dtype});
    std::fill_n(folder.values("model.layers.1.self_attn.k_proj.weight").begin() + 128, 128, 0.0f);
    for (const int threads : {1, 4}) expect_same(folder.open(), {.threads = threads, .progress = {}});
  }
}

TEST_F(LoadOnDevice, TensorsOfSeveralChunksAreWhole) {
  ModelFolder folder({.intermediate = 34'000, .vocab = 34'016, .layers = 1, .dtype = FileDType::kF32});
  expect_same(folder.open(), {.threads = 2, .progress = {}});
}

TEST_F(LoadOnDevice, KeepsLinearsDenseWithoutQuantization) {
  for (const FileDType dtype : {FileDType::kBf16, FileDType::kF32}) {
    ModelFolder folder({.dtype = dtype, .tied = true});
    expect_same(folder.open(), {.quantize = false, .progress = {}});
  }
}

TEST_F(LoadOnDevice, TakesABaseThatIsNf4Already) {
  for (const Nf4Options& options : {Nf4Options{}, Nf4Options{.nested = false}, Nf4Options{.block_size = 128}}) {
    Nf4Folder folder(options);
    expect_same(folder.open(), {.threads = 2, .progress = {}});
  }
}

TEST_F(LoadOnDevice, CacheIsReadAndWrittenAsOnTheHost) {
  ModelFolder folder({.tied = true});
  const HfModel model = folder.open();
  const std::uint64_t wanted = combined(cpu(), load_mistral(model, {.progress = {}}));
  TemporaryFolder caches;
  LoadOptions options{.nf4_cache = caches.file("base.safetensors"), .progress = {}};
  EXPECT_EQ(combined(device(), load(model, options)), wanted);
  const std::string by_device = caches.read("base.safetensors");
  std::uint64_t total = 0;
  options.progress = [&](std::uint64_t, std::uint64_t bytes) { total = bytes; };
  const MistralWeights again = load(model, options);
  EXPECT_EQ(combined(device(), again), wanted);
  EXPECT_EQ(again.fingerprint, model.fingerprint());
  EXPECT_LT(total, model.tensor_bytes());
  EXPECT_EQ(combined(cpu(), load_mistral(model, options)), wanted) << "one file for every device";

  caches.write("base.safetensors", "");
  load_mistral(model, options);
  EXPECT_EQ(caches.read("base.safetensors"), by_device);
  std::string damaged = by_device;
  damaged[damaged.size() / 2] ^= 1;
  caches.write("base.safetensors", damaged);
  EXPECT_EQ(combined(device(), load(model, options)), wanted);
  EXPECT_EQ(caches.read("base.safetensors"), by_device);
}

TEST_F(LoadOnDevice, RefusesNanAndInfWithTensorAndIndex) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  const struct {
    std::string tensor;
    std::size_t element;
    float value;
    std::string message;
  } cases[] = {{"model.layers.1.mlp.down_proj.weight", 1000, kNan,
                "`model.layers.1.mlp.down_proj.weight` holds NaN at element 1000"},
               {"model.layers.0.self_attn.q_proj.weight", 4095, -kInf,
                "`model.layers.0.self_attn.q_proj.weight` holds -Inf at element 4095"},
               {"model.embed_tokens.weight", 65, kInf, "`model.embed_tokens.weight` holds Inf at element 65"}};
  for (const auto& bad : cases) {
    ModelFolder folder({});
    folder.values(bad.tensor)[bad.element] = bad.value;
    const HfModel model = folder.open();
    try {
      load(model, {.progress = {}});
      FAIL() << bad.tensor;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0210");
      EXPECT_EQ(error.diagnostics().front().message, bad.message);
    }
  }
}

}  // namespace
}  // namespace shori
