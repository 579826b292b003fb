#include "shori/train/adapter_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "shori/io/safetensors.h"
#include "shori/util/error.h"
#include "tests/support/error_code.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

const std::string kPrefix = "base_model.model.model.layers.0.self_attn.q_proj.";

struct Adapter {
  std::vector<float> a = {0.1f, -2.0f, 3.5f, 1e-3f, 5.0f, 6.0f}, b = {1.0f, 2.0f, -3.0f, 0.25f};
  AdapterSettings settings{"mistralai/Mistral-7B-Instruct-v0.2", 2, 16, 0.1, {"q_proj"}};
  std::vector<NamedArray> tensors() {
    return {{kPrefix + "lora_A.weight", FileDType::kF32, {2, 3}, a.data()},
            {kPrefix + "lora_B.weight", FileDType::kF32, {2, 2}, b.data()}};
  }
};

TEST(AdapterConfig, IsWhatPeft010Writes) {
  const AdapterSettings settings{"mistralai/Mistral-7B-Instruct-v0.2",
                                 20,
                                 16,
                                 0.1,
                                 {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
  EXPECT_EQ(adapter_config_text(settings), R"({
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 16,
  "lora_dropout": 0.1,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 20,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "down_proj",
    "gate_proj",
    "k_proj",
    "o_proj",
    "q_proj",
    "up_proj",
    "v_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
})");
}

TEST(AdapterConfig, Peft06FormLeavesSixKeysOut) {
  const std::string text = adapter_config_text({"x", 20, 16, 0.1, {"q_proj"}}, true);
  for (const char* key :
       {"use_rslora", "use_dora", "layer_replication", "megatron_config", "megatron_core", "loftq_config"})
    EXPECT_EQ(text.find(key), std::string::npos) << key;
}

TEST(AdapterFile, ComesBack) {
  TemporaryFolder folder;
  Adapter adapter, read;
  const auto files =
      write_adapter_folder(folder.path(), "adapter", adapter.settings, adapter.tensors(), {{"shori.step", "7"}});
  EXPECT_EQ(files.size(), 2u);
  std::fill(read.a.begin(), read.a.end(), 0.0f);
  const AdapterOrigin origin =
      read_adapter(find_adapter_source(folder.file("adapter")), adapter.settings, read.tensors());
  EXPECT_EQ(read.a, adapter.a);
  EXPECT_EQ(read.b, adapter.b);
  EXPECT_EQ(origin.step, "7");
  EXPECT_EQ(origin.sha256, files.at("adapter_model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(folder.file(".adapter.tmp")));
}

TEST(AdapterFile, SixteenBitTypesRound) {
  TemporaryFolder folder;
  Adapter adapter, read;
  write_adapter_folder(folder.path(), "bf16", adapter.settings, adapter.tensors(), {}, AdapterDType::kBf16);
  read_adapter(find_adapter_source(folder.file("bf16")), adapter.settings, read.tensors());
  EXPECT_EQ(read.a[0], 0.10009765625f);
  write_adapter_folder(folder.path(), "f16", adapter.settings, adapter.tensors(), {}, AdapterDType::kF16);
  read_adapter(find_adapter_source(folder.file("f16")), adapter.settings, read.tensors());
  EXPECT_EQ(read.a[0], 0.0999755859375f);
  adapter.a[1] = 1e6f;
  EXPECT_EQ(code_of([&] {
              write_adapter_folder(folder.path(), "big", adapter.settings, adapter.tensors(), {}, AdapterDType::kF16);
            }),
            "E0804");
}

TEST(AdapterFile, EverySettingThatDiffersIsRefused) {
  TemporaryFolder folder;
  Adapter adapter;
  write_adapter_folder(folder.path(), "adapter", adapter.settings, adapter.tensors(), {});
  const AdapterSource source = find_adapter_source(folder.file("adapter"));
  const auto with = [&](auto change) {
    AdapterSettings settings = adapter.settings;
    change(settings);
    return code_of([&] { read_adapter(source, settings, adapter.tensors()); });
  };
  EXPECT_EQ(with([](AdapterSettings&) {}), "none");
  EXPECT_EQ(with([](AdapterSettings& s) { s.rank = 3; }), "E0511");
  EXPECT_EQ(with([](AdapterSettings& s) { s.alpha = 20; }), "E0511");
  EXPECT_EQ(with([](AdapterSettings& s) { s.target_modules.push_back("k_proj"); }), "E0511");
}

TEST(AdapterFile, TensorsMustBeExactlyThoseExpected) {
  TemporaryFolder folder;
  Adapter adapter;
  write_adapter_folder(folder.path(), "adapter", adapter.settings, adapter.tensors(), {});
  const AdapterSource source = find_adapter_source(folder.file("adapter"));
  std::vector<NamedArray> more = adapter.tensors(), fewer = adapter.tensors(), reshaped = adapter.tensors();
  more.push_back(
      {"base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", FileDType::kF32, {2, 3}, adapter.a.data()});
  fewer.pop_back();
  std::swap(reshaped[0].shape[0], reshaped[0].shape[1]);
  for (const auto& tensors : {more, fewer, reshaped})
    EXPECT_EQ(code_of([&] { read_adapter(source, adapter.settings, tensors); }), "E0511");
}

TEST(AdapterFile, ValuesMustBeFinite) {
  TemporaryFolder folder;
  Adapter adapter;
  adapter.b[2] = std::numeric_limits<float>::quiet_NaN();
  write_adapter_folder(folder.path(), "adapter", adapter.settings, adapter.tensors(), {});
  EXPECT_EQ(
      code_of([&] { read_adapter(find_adapter_source(folder.file("adapter")), adapter.settings, adapter.tensors()); }),
      "E0210");
}

TEST(AdapterSource, UnfinishedRunsAndMissingFoldersAreRefused) {
  TemporaryFolder folder;
  folder.write("run/checkpoints/step-000003.safetensors", "x");
  EXPECT_EQ(code_of([&] { find_adapter_source(folder.file("run")); }), "E0510");
  EXPECT_EQ(code_of([&] { find_adapter_source(folder.file("nothing")); }), "E0510");
  folder.write("pickle/adapter_model.bin", "x");
  EXPECT_EQ(code_of([&] { find_adapter_source(folder.file("pickle")); }), "E0202");
  folder.write("run/done.json", "{}");
  EXPECT_EQ(find_adapter_source(folder.file("run")).path(), folder.file("run/adapter/adapter_model.safetensors"));
}

TEST(AdapterFile, UnsupportedPeftFeaturesAreNamed) {
  TemporaryFolder folder;
  Adapter adapter;
  write_adapter_folder(folder.path(), "adapter", adapter.settings, adapter.tensors(), {});
  const std::string good = folder.read("adapter/adapter_config.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    folder.write("adapter/adapter_config.json", text);
    return code_of(
        [&] { read_adapter(find_adapter_source(folder.file("adapter")), adapter.settings, adapter.tensors()); });
  };
  EXPECT_EQ(with("\"use_dora\": false", "\"use_dora\": true"), "E0511");
  EXPECT_EQ(with("\"use_rslora\": false", "\"use_rslora\": true"), "E0511");
  EXPECT_EQ(with("\"bias\": \"none\"", "\"bias\": \"all\""), "E0511");
  EXPECT_EQ(with("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]"), "E0511");
  EXPECT_EQ(with("\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}"), "E0511");
  EXPECT_EQ(with("\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\""), "E0511");
  EXPECT_EQ(with("\"r\": 2", "\"r\": 2, \"r\": 2"), "E0214");
  EXPECT_EQ(with("\"r\": 2", "\"r\": 2"), "none");
}

}  // namespace
}  // namespace shori
