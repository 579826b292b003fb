// Bases that are NF4 in their files: used bit for bit, and refused if their parts do not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "shori/model/load_mistral.h"
#include "shori/util/text.h"
#include "tests/support/nf4_folder.h"

namespace shori {
namespace {

constexpr char kWeight[] = "model.layers.1.mlp.down_proj.weight";
constexpr char kState[] = "model.layers.1.mlp.down_proj.weight.quant_state.bitsandbytes__nf4";

std::vector<float> decoded(const Nf4Weight& weight) {
  std::vector<float> values(static_cast<std::size_t>(weight.layout.count()));
  dequantize_nf4(weight.view(), 0, values);
  return values;
}

std::vector<std::uint8_t> bytes_of(const OwnedTensor& tensor) {
  const auto* begin = tensor.data<std::uint8_t>();
  return {begin, begin + tensor.bytes()};
}

void expect_values(const Nf4Folder& folder, const MistralWeights& weights) {
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    for (const Linear linear : kLinears) {
      const std::string name = concat("model.layers.", layer, ".", path_of(linear), ".weight");
      const auto& weight = std::get<Nf4Weight>(weights.layers[layer][linear]);
      const LinearShape shape = shape_of(weights.config, linear);
      EXPECT_EQ(weight.layout.rows, shape.out);
      EXPECT_EQ(weight.layout.cols, shape.in);
      EXPECT_EQ(bytes_of(weight.codes), folder.codes(name));
      EXPECT_EQ(decoded(weight), folder.values(name)) << name;
    }
  }
}

TEST(QuantizedBase, NestedAbsmaxIsTakenAsItIs) {
  Nf4Folder folder;
  const HfModel model = folder.open();
  EXPECT_TRUE(model.config().is_nf4);
  EXPECT_TRUE(weight_format(model, DType::kBf16, true).nested);
  for (const int threads : {1, 4}) {
    const MistralWeights weights = load_mistral(model, {.threads = threads, .progress = {}});
    expect_values(folder, weights);
    EXPECT_EQ(weights.fingerprint, model.fingerprint());
    const auto& weight = std::get<Nf4Weight>(weights.layers[1][Linear::kDown]);
    EXPECT_FALSE(weight.scales);
    EXPECT_EQ(weight.offset, 0.0375f);
  }
}

TEST(QuantizedBase, OtherFormsBecomeFlatScales) {
  for (const Nf4Options& options :
       {Nf4Options{.nested = false}, Nf4Options{.nested = false, .block_size = 256}, Nf4Options{.block_size = 128},
        Nf4Options{.nested_block_size = 3}, Nf4Options{.map_factor = 1.0f + 0x1p-22f},
        Nf4Options{.nested = false, .block_size = 4096}}) {
    Nf4Folder folder(options);
    const HfModel model = folder.open();
    EXPECT_FALSE(weight_format(model, DType::kBf16, true).nested);
    expect_values(folder, load_mistral(model, {.progress = {}}));
  }
}

TEST(QuantizedBase, ProductsUseFlatScales) {
  Nf4Folder folder({.nested = false});
  const MistralWeights weights = load_mistral(folder.open(), {.progress = {}});
  const Nf4View view = frozen_view(weights.layers[1][Linear::kDown]).nf4;
  EXPECT_NE(view.scales, nullptr);
  EXPECT_EQ(view.absmax, nullptr);
  Workspace workspace;
  const OpContext context{.workspace = &workspace};
  const std::uint64_t before = checksum_base(context, weights).combined();
  view.scales[0] *= 2.0f;
  EXPECT_NE(checksum_base(context, weights).combined(), before) << "a flipped bit of a scale is seen";
}

// The codes may stand in any dtype: only their bytes count.
TEST(QuantizedBase, StorageTypeDoesNotMatter) {
  Nf4Folder folder;
  for (TestTensor& tensor : folder.tensors()) {
    if (!tensor.name.ends_with("_proj.weight")) continue;
    tensor.dtype = "BF16";
    tensor.shape = {tensor.shape[0] / 2, 1};
  }
  expect_values(folder, load_mistral(folder.open(), {.progress = {}}));
}

TEST(QuantizedBase, ShapeMayBeNullAndPartsMayStandInAnyOrder) {
  Nf4Folder folder;
  TestTensor& state = folder.tensor(kState);
  state.data = replaced(state.data, "\"shape\": [32,40]", "\"shape\": null");
  state.shape = {std::ssize(state.data)};
  std::ranges::reverse(folder.tensors());
  expect_values(folder, load_mistral(folder.open(), {.progress = {}}));
}

struct Damage {
  const char* what;
  const char* code;
  std::function<void(Nf4Folder&)> apply;
};

std::function<void(Nf4Folder&)> in_state(const char* from, const char* to) {
  return [=](Nf4Folder& folder) {
    TestTensor& state = folder.tensor(kState);
    state.data = replaced(state.data, from, to);
    state.shape = {std::ssize(state.data)};
  };
}
std::function<void(Nf4Folder&)> without(const std::string& ending) {
  return [=](Nf4Folder& folder) { folder.remove(kWeight + ending); };
}
std::function<void(Nf4Folder&)> shortened(const std::string& ending, std::int64_t by, std::size_t bytes) {
  return [=](Nf4Folder& folder) {
    TestTensor& tensor = folder.tensor(kWeight + ending);
    tensor.shape[0] -= by;
    tensor.data.resize(tensor.data.size() - bytes);
  };
}

TEST(QuantizedBase, PartsThatDoNotFitAreRefused) {
  const Damage cases[] = {
      {"no codes", "E0208", without("")},
      {"no absmax", "E0217", without(".absmax")},
      {"no levels", "E0217", without(".quant_map")},
      {"no state", "E0217", without(".quant_state.bitsandbytes__nf4")},
      {"nested map missing", "E0217", without(".nested_quant_map")},
      {"nested absmax missing", "E0217", without(".nested_absmax")},
      {"codes too short", "E0217", shortened("", 1, 1)},
      {"absmax too short", "E0217", shortened(".absmax", 1, 1)},
      {"nested absmax too short", "E0217", shortened(".nested_absmax", 1, 4)},
      {"nested map too short", "E0217", shortened(".nested_quant_map", 1, 4)},
      {"levels too short", "E0217", shortened(".quant_map", 1, 4)},
      {"state cut off", "E0217", shortened(".quant_state.bitsandbytes__nf4", 5, 5)},
      {"state with a key twice", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": 64, \"blocksize\": 64")},
      {"fp4", "E0217", in_state("nf4", "fp4")},
      {"block of 32", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": 32")},
      {"block of 96", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": 96")},
      {"block of 128", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": 128")},
      {"huge block", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": 9223372036854775807")},
      {"negative block", "E0217", in_state("\"blocksize\": 64", "\"blocksize\": -64")},
      {"no block", "E0217", in_state("\"blocksize\": 64, ", "")},
      {"other shape", "E0217", in_state("[32,40]", "[40,32]")},
      {"shape of one", "E0217", in_state("[32,40]", "[1280]")},
      {"other dtype", "E0217", in_state("bfloat16", "int8")},
      {"nested of zero", "E0217", in_state("\"nested_blocksize\": 256", "\"nested_blocksize\": 0")},
      {"no nested block", "E0217", in_state("\"nested_blocksize\": 256, ", "")},
      {"nested as int", "E0217", in_state("float32", "int32")},
      {"no offset", "E0217", in_state(", \"nested_offset\": 0.0375", "")},
      {"offset beyond fp32", "E0217", in_state("0.0375", "1e300")},
      {"two states", "E0208",
       [](Nf4Folder& folder) {
         folder.tensors().push_back({std::string(kWeight) + ".quant_state.bitsandbytes__fp4", "U8", {2}, "{}"});
       }},
      {"a dense linear among them", "E0217",
       [](Nf4Folder& folder) {
         for (const char* ending :
              {".absmax", ".quant_map", ".nested_quant_map", ".nested_absmax", ".quant_state.bitsandbytes__nf4"})
           folder.remove(kWeight + std::string(ending));
         folder.tensor(kWeight) = {kWeight, "BF16", {32, 40}, std::string(2560, '\0')};
       }},
      {"absmax of a norm", "E0208",
       [](Nf4Folder& folder) { folder.tensors().push_back({"model.norm.weight.absmax", "F32", {1}, "abcd"}); }},
      {"config without quantization", "E0216",
       [](Nf4Folder& folder) {
         folder.config() = replaced(folder.config(), "\"load_in_4bit\": true", "\"load_in_4bit\": false");
       }},
      {"config of fp4", "E0216",
       [](Nf4Folder& folder) { folder.config() = replaced(folder.config(), "\"nf4\"", "\"fp4\""); }},
      {"config of gptq", "E0216",
       [](Nf4Folder& folder) { folder.config() = replaced(folder.config(), "bitsandbytes", "gptq"); }}};
  for (const Damage& damage : cases) {
    Nf4Folder folder;
    damage.apply(folder);
    EXPECT_EQ(code_of([&] { folder.open(); }), damage.code) << damage.what;
  }
}

TEST(QuantizedBase, FlatAbsmaxHasNoNestedMap) {
  Nf4Folder folder({.nested = false});
  folder.tensors().push_back({std::string(kWeight) + ".nested_quant_map", "F32", {256}, std::string(1024, '\0')});
  EXPECT_EQ(code_of([&] { folder.open(); }), "E0217");
}

TEST(QuantizedBase, OtherLevelsAreRefused) {
  Nf4Folder folder;
  folder.tensor(kWeight + std::string(".quant_map")).data[4] ^= 1;
  const HfModel model = folder.open();
  EXPECT_EQ(code_of([&] { load_mistral(model, {.progress = {}}); }), "E0217");
}

TEST(QuantizedBase, ScalesThatAreNotFiniteAreRefused) {
  for (const bool nested : {true, false}) {
    Nf4Folder folder({.nested = nested});
    TestTensor& absmax = folder.tensor(kWeight + std::string(nested ? ".nested_absmax" : ".absmax"));
    const float bad = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(absmax.data.data(), &bad, sizeof bad);
    const HfModel model = folder.open();
    EXPECT_EQ(code_of([&] { load_mistral(model, {.progress = {}}); }), "E0210");
  }
}

TEST(QuantizedBase, NoCacheIsKeptOfIt) {
  Nf4Folder folder;
  const TemporaryFolder caches;
  LoadOptions options{.nf4_cache = caches.file("base.safetensors"), .progress = {}};
  load_mistral(folder.open(), options);
  EXPECT_TRUE(list_directory(caches.path()).empty());
}

}  // namespace
}  // namespace shori
