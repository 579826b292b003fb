// The quantized base, kept and read again.
#include "src/model/weights/nf4_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/model_folder.h"

namespace shori {
namespace {

namespace fs = std::filesystem;

std::uint64_t checksum(const MistralWeights& weights) {
  Workspace workspace;
  return checksum_base({.workspace = &workspace}, weights).combined();
}

class Nf4Cache : public ::testing::Test {
 protected:
  LoadOptions options(int threads = 2) const {
    LoadOptions result;
    result.threads = threads;
    result.nf4_cache = cache_path();
    return result;
  }
  std::string cache_path() const { return caches_.file("base.safetensors"); }
  std::string cache_bytes() const { return caches_.read("base.safetensors"); }
  // Whether the weights came from the cache alone.
  static bool reads(const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
    weights = allocate_weights(model.config(), {.activation = options.activation}, nullptr);
    return read_nf4_cache(*find_nf4_cache(options.nf4_cache, model, options.activation), model, options, weights);
  }
  static bool reads(const HfModel& model, const LoadOptions& options) {
    MistralWeights weights;
    return reads(model, options, weights);
  }

  TemporaryFolder caches_;
};

TEST_F(Nf4Cache, SecondStartHasTheSameWeights) {
  for (const bool tied : {false, true}) {
    for (const DType activation : {DType::kBf16, DType::kF32}) {
      ModelFolder folder({.tied = tied});
      std::fill_n(folder.values("model.layers.0.self_attn.k_proj.weight").begin() + 128, 64, 0.0f);
      const HfModel model = folder.open();
      LoadOptions load = options();
      load.activation = activation;
      const MistralWeights first = load_mistral(model, load);
      for (const int threads : {1, 4}) {
        load.threads = threads;
        MistralWeights second;
        ASSERT_TRUE(reads(model, load, second));
        EXPECT_EQ(checksum(second), checksum(first));
        EXPECT_EQ(second.fingerprint, model.fingerprint());
        EXPECT_EQ(second.zero_blocks, 1);
        EXPECT_EQ(static_cast<bool>(second.head), !tied);
      }
      EXPECT_EQ(list_directory(caches_.path()).size(), 1u) << "nothing beside the cache";
    }
  }
}

TEST_F(Nf4Cache, WeightsAreNotReadAgain) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  const MistralWeights first = load_mistral(model, options());
  std::uint64_t total = 0;
  LoadOptions load = options();
  load.progress = [&](std::uint64_t, std::uint64_t bytes) { total = bytes; };
  EXPECT_EQ(checksum(load_mistral(model, load)), checksum(first));
  EXPECT_LT(total, model.tensor_bytes()) << "the arrays of the cache, not the files of the base";
}

// A flipped bit anywhere is found; the base is then quantized again and the file replaced.
TEST_F(Nf4Cache, AnyFlippedBitIsFoundAndTheFileReplaced) {
  ModelFolder folder({.hidden = 32, .intermediate = 32, .vocab = 8, .layers = 1});
  const HfModel model = folder.open();
  const std::uint64_t wanted = checksum(load_mistral(model, options()));
  const std::string whole = cache_bytes();
  std::vector<std::size_t> bytes;
  for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 200) bytes.push_back(at);
  for (std::size_t at = whole.size() - 64; at < whole.size(); at += 8) bytes.push_back(at);  // each field of the seal
  for (const std::size_t at : bytes) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    caches_.write("base.safetensors", damaged);
    ASSERT_FALSE(reads(model, options())) << "byte " << at;
    ASSERT_EQ(checksum(load_mistral(model, options())), wanted);
    ASSERT_EQ(cache_bytes(), whole);
  }
}

TEST_F(Nf4Cache, CutOrForeignFilesAreReplaced) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  const std::uint64_t wanted = checksum(load_mistral(model, options()));
  const std::string whole = cache_bytes();
  for (const std::string& content : {std::string(), std::string("not a cache"), whole.substr(0, whole.size() / 2),
                                     whole.substr(0, whole.size() - 64), whole + "x", std::string(5000, '\0')}) {
    caches_.write("base.safetensors", content);
    ASSERT_FALSE(reads(model, options()));
    ASSERT_EQ(checksum(load_mistral(model, options())), wanted);
    ASSERT_EQ(cache_bytes(), whole);
  }
}

TEST_F(Nf4Cache, BelongsToTheFilesItWasMadeFrom) {
  ModelFolder folder({});
  {
    const HfModel model = folder.open();
    load_mistral(model, options());
    ASSERT_TRUE(reads(model, options()));
  }
  // The same bytes written again, with another modification time, are the same base.
  fs::last_write_time(folder.path() + "/model.safetensors", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  {
    const HfModel model = HfModel::open(folder.path());
    EXPECT_TRUE(reads(model, options()));
  }
  // Another file with the time of the old one.
  const auto time = fs::last_write_time(folder.path() + "/model.safetensors");
  folder.values("model.norm.weight")[0] = 3.0f;
  fs::rename(folder.path() + "/model.safetensors", folder.path() + "/old");
  folder.open();
  fs::last_write_time(folder.path() + "/model.safetensors", time);
  {
    const HfModel model = HfModel::open(folder.path());
    EXPECT_FALSE(reads(model, options()));
    EXPECT_EQ(to_float(load_mistral(model, options()).final_norm.data<Bf16>()[0]), 3.0f);
  }
  // Another config.json.
  std::ofstream(folder.path() + "/config.json", std::ios::app) << "\n";
  EXPECT_FALSE(reads(HfModel::open(folder.path()), options()));
}

TEST_F(Nf4Cache, AnotherActivationTypeIsAnotherCache) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  load_mistral(model, options());
  LoadOptions wide = options();
  wide.activation = DType::kF32;
  EXPECT_FALSE(reads(model, wide));
  EXPECT_NE(find_nf4_cache(caches_.path(), model, DType::kBf16)->name,
            find_nf4_cache(caches_.path(), model, DType::kF32)->name);
}

TEST_F(Nf4Cache, DenseWeightsAreNotCached) {
  ModelFolder folder({});
  LoadOptions load = options();
  load.quantize = false;
  load_mistral(folder.open(), load);
  EXPECT_TRUE(list_directory(caches_.path()).empty());
}

TEST_F(Nf4Cache, AFolderThatCannotBeWrittenOnlyMeansNoCache) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  LoadOptions load = options();
  load.nf4_cache = caches_.write("file", "") + "/below.safetensors";
  EXPECT_EQ(checksum(load_mistral(model, load)), checksum(load_mistral(model, {.progress = {}})));
}

TEST_F(Nf4Cache, LocationFollowsTheSetting) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  EXPECT_FALSE(find_nf4_cache("off", model, DType::kBf16));
  EXPECT_FALSE(find_nf4_cache("auto", model, DType::kBf16)) << "a small base is quantized at once";
  EXPECT_EQ(find_nf4_cache("/some/where.safetensors", model, DType::kBf16)->path(), "/some/where.safetensors");
  ModelFolder copy({}), other({.layers = 1});
  const std::string one = find_nf4_cache("/some/where", model, DType::kBf16)->path();
  const std::string two = find_nf4_cache("/some/where", other.open(), DType::kBf16)->path();
  EXPECT_TRUE(one.starts_with("/some/where/"));
  EXPECT_NE(one, two) << "bases may share a folder";
  EXPECT_EQ(one, find_nf4_cache("/some/where", copy.open(), DType::kBf16)->path()) << "a copy is the same base";
}

// A base of 1 GiB that takes no room: its weights are a hole in the file, never read here.
TEST_F(Nf4Cache, AutoLiesBesideALargeBaseOrWithTheUser) {
  ModelFolder folder({.hidden = 4096, .intermediate = 8, .vocab = 70'000, .layers = 1, .sparse = true});
  const HfModel model = folder.open();
  ASSERT_GE(model.tensor_bytes(), kNf4CacheFrom);
  EXPECT_EQ(find_nf4_cache("auto", model, DType::kBf16)->folder, folder.path() + "/.shori-nf4");
  fs::remove_all(folder.path() + "/.shori-nf4");
  std::ofstream(folder.path() + "/.shori-nf4") << "in the way";
  setenv("XDG_CACHE_HOME", caches_.path().c_str(), 1);
  const std::string of_user = find_nf4_cache("auto", model, DType::kBf16)->folder;
  EXPECT_TRUE(of_user.starts_with(caches_.file("shori-train/nf4/"))) << of_user;
  unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace shori
