#include "src/train/stage/start_adapter.h"

#include <gtest/gtest.h>

#include "shori/train/adapter_file.h"
#include "shori/util/error.h"
#include "src/train/plan/stage_options.h"
#include "tests/support/tiny_stage.h"

namespace shori {
namespace {

struct StartAdapter : testing::Test {
  LoraAdapter make() const { return LoraAdapter(tiny_config(), {.rank = 4, .alpha = 16}, DType::kF32); }
  // A trained adapter in a folder of its own.
  std::string write(LoraAdapter& adapter, const std::string& fingerprint) const {
    randomize(adapter, cpu());
    write_adapter_folder(folder.path(), "adapter", adapter_settings(config, base.name), adapter.arrays(),
                         {{"shori.base_fingerprint", fingerprint}});
    return folder.file("adapter");
  }

  TrainConfig config = tiny_stage_config("", "").config;
  BaseIdentity base{"org/base", std::string(64, 'f'), ""};
  TemporaryFolder folder;
};

TEST_F(StartAdapter, FreshOneDependsOnTheSeedOnly) {
  LoraAdapter one = make(), two = make(), three = make();
  EXPECT_EQ(fill_adapter(config, "", base, "", one, cpu()), std::nullopt);
  fill_adapter(config, "", base, "", two, cpu());
  config.seed = 43;
  fill_adapter(config, "", base, "", three, cpu());
  EXPECT_EQ(copy_values(one), copy_values(two));
  EXPECT_NE(copy_values(one), copy_values(three));
}

TEST_F(StartAdapter, InitFromHasTheTrainedValuesAndTheHashOfTheFile) {
  LoraAdapter trained = make(), filled = make();
  const std::string path = write(trained, base.fingerprint);
  EXPECT_EQ(fill_adapter(config, path, base, "", filled, cpu()), adapter_source_sha256(find_adapter_source(path)));
  EXPECT_EQ(copy_values(filled), copy_values(trained));
}

TEST_F(StartAdapter, AdapterOfAnotherBaseIsRefused) {
  LoraAdapter trained = make();
  const std::string path = write(trained, std::string(64, '0'));
  try {
    fill_adapter(config, path, base, "", trained, cpu());
    ADD_FAILURE() << "it should be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0505");
  }
}

TEST_F(StartAdapter, AdapterOfAnotherTokenizerIsRefused) {
  LoraAdapter trained = make();
  randomize(trained, cpu());
  write_adapter_folder(folder.path(), "adapter", adapter_settings(config, base.name), trained.arrays(),
                       {{"shori.base_fingerprint", base.fingerprint}, {"shori.tokenizer_sha256", "one"}});
  const auto fill = [&](const std::string& tokenizer) {
    return fill_adapter(config, folder.file("adapter"), base, tokenizer, trained, cpu());
  };
  EXPECT_NO_THROW(fill("one"));
  EXPECT_NO_THROW(fill("")) << "without a tokenizer there is nothing to compare";
  try {
    fill("other");
    ADD_FAILURE() << "it should be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0505");
  }
}

TEST_F(StartAdapter, OptimizerIsCarriedOnlyFromACheckpoint) {
  LoraAdapter trained = make();
  const std::string path = write(trained, base.fingerprint);
  AdamW8bit optimizer(trained, {});
  try {
    carry_optimizer(path, optimizer, cpu());
    ADD_FAILURE() << "an adapter folder has no moments";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0510");
  }
}

}  // namespace
}  // namespace shori
