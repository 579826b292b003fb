#include "src/train/stage/loaded_base.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_stage.h"

namespace shori {
namespace {

TEST(LoadedBase, KeyHasWhatStagesMustHaveInCommon) {
  TrainConfig config;
  config.device = DeviceChoice::kCpu;
  const std::string key = base_key(config);
  const auto changed = [&](auto change) {
    TrainConfig other = config;
    change(other);
    return base_key(other) != key;
  };
  EXPECT_TRUE(changed([](TrainConfig& c) { c.base_model = "other"; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.bf16 = false; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.load_in_4bit = false; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.lora_r = 8; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.lora_alpha = 8; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.lora_target_modules = {"q_proj"}; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.gpu_memory_limit = "20GiB"; }));
  EXPECT_FALSE(changed([](TrainConfig& c) { c.learning_rate = 0.1; }));
  EXPECT_FALSE(changed([](TrainConfig& c) { c.sequence_len = 64; }));
}

TEST(LoadedBase, IsKeptForTheNextStageWithTheSameKey) {
  TinyStage tiny;
  std::optional<LoadedBase> base;
  const Mistral* first = prepare_base(*tiny, base).model.get();
  EXPECT_EQ(base->fingerprint.size(), 64u);
  tiny->config.learning_rate = 0.001;
  EXPECT_EQ(prepare_base(*tiny, base).model.get(), first);
  const std::string old_key = base->key;
  tiny->config.lora_r = 8;
  prepare_base(*tiny, base);
  EXPECT_NE(base->key, old_key);
  EXPECT_EQ(base->adapter->settings().rank, 8);
}

}  // namespace
}  // namespace shori
