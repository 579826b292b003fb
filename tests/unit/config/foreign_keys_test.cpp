// Keys of Axolotl that mean nothing here, and keys of later versions.
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

TEST(ForeignKeys, EmptyOnesAreAcceptedAndListedOnce) {
  const LoadResult result = load_text(
      config_with("wandb_project:\nwandb_entity: ''\ndeepspeed:\nfsdp: []\nfsdp_config: {}\nspecial_tokens:\n"
                  "strict: false\nload_in_8bit: false\ngroup_by_length: false\nhub_model_id:\nlora_model_dir:\n"
                  "is_mistral_derived_model: false\nresume_from_checkpoint:\nlocal_rank:\ntokens: []\n"
                  "early_stopping_patience:\nxformers_attention:\nlora_fan_in_fan_out:\ndebug:\n"
                  "optimizer: adamw_bnb_8bit\nfp16: false\ntf32: true\neval_batch_size: 4\n"
                  "gradient_checkpointing: true\nflash_attention: true\neval_sample_packing: false\n"));
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.notes.size(), 2u);
  EXPECT_EQ(result.loaded.notes[0],
            "accepted, but decided by the program: strict, xformers_attention, debug, optimizer, fp16, tf32, "
            "eval_batch_size, gradient_checkpointing, flash_attention, eval_sample_packing");
  EXPECT_TRUE(result.loaded.notes[1].find("wandb_project, wandb_entity, deepspeed, fsdp, ") != std::string::npos);
}

struct ForeignCase {
  const char* line;
  const char* said;
};

class ForeignValue : public testing::TestWithParam<ForeignCase> {};

TEST_P(ForeignValue, IsRefusedWithWhatItWouldDo) {
  const LoadResult result = load_text(config_with(std::string(GetParam().line) + "\n"));
  ASSERT_EQ(result.codes(), "E0112") << result.text();
  EXPECT_EQ(result.problems[0].location.line, 5u);
  EXPECT_EQ(result.problems[0].notes.size(), 1u);
  EXPECT_EQ(result.problems[0].helps.size(), 1u);
  EXPECT_TRUE(result.loaded.notes.empty());
  EXPECT_NE(result.text().find(GetParam().said), std::string::npos) << result.text();
}

INSTANTIATE_TEST_SUITE_P(
    All, ForeignValue,
    testing::Values(ForeignCase{"deepspeed: zero2.json",
                                "`deepspeed` is an Axolotl key that shori-train does not have"},
                    ForeignCase{"group_by_length: true", "packing"},
                    ForeignCase{"special_tokens: {bos_token: '<|im_start|>'}", "tokenizer.model is used as it is"},
                    ForeignCase{"special_tokens: {pad_token: '[PAD]'}", "padding is never seen by the model"},
                    ForeignCase{"model_type: LlamaForCausalLM", "config.json"},
                    ForeignCase{"tokenizer_type: GPT2Tokenizer", "tokenizer.model is used as it is"},
                    ForeignCase{"base_model_config: other", "config.json"}, ForeignCase{"data_seed: 7", "use `seed`"},
                    ForeignCase{"plugins: [axolotl.integrations.spectrum.SpectrumPlugin]", "Python plugins"},
                    ForeignCase{"load_in_8bit: true", "NF4 is the only quantization"},
                    ForeignCase{"noisy_embedding_alpha: 5", "noise"}, ForeignCase{"rl: dpo", "something else"},
                    ForeignCase{"early_stopping_patience: 3", "`max_steps`"},
                    ForeignCase{"lora_model_dir: runs/mid", "write `init_from: runs/mid`"},
                    ForeignCase{"peft_use_dora: true", "plain LoRA"}, ForeignCase{"local_rank: 1", "GPUs"},
                    ForeignCase{"sandbox: strict", "`sandbox` is not in this version of shori-train"},
                    ForeignCase{"dataset_exact_deduplication: true", "use `dedupe`"}));

TEST(ForeignKeys, TransportAndKernelsAreNotResults) {
  const auto loaded = load_text(
      config_with("ddp_timeout: 7200\nddp_bucket_cap_mb: 25\nplugins:\n  - axolotl.integrations.liger.LigerPlugin\n"
                  "  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin\nliger_rope: true\n"));
  EXPECT_EQ(loaded.codes(), "") << loaded.text();
  EXPECT_EQ(load_text(config_with("plugins: [axolotl.integrations.liger.LigerPlugin, x.Y]\n")).codes(), "E0112");
}

TEST(ForeignKeys, InAStageAndInAnOverride) {
  EXPECT_EQ(load_text(config_with(""), {"deepspeed=z.json"}).codes(), "E0112");
  EXPECT_EQ(load_text("base_model: m\noutput_dir: o\nstages:\n  - name: a\n    learning_rate: 1e-5\n    fsdp: [x]\n"
                      "    datasets: [{path: d}]\n")
                .codes(),
            "E0112");
}

}  // namespace
}  // namespace shori
