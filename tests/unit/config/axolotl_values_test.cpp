// Values of Axolotl's configs that mean what is done here, and what is said about those that do not.
#include "shori/config/config_text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

struct SameCase {
  const char* line;
  const char* resolved;  // the line of the resolved config; its comment keeps what was written
};

class SameValue : public testing::TestWithParam<SameCase> {};

TEST_P(SameValue, IsReadAndShown) {
  const LoadResult result = load_text(config_with(std::string(GetParam().line) + "\n"));
  ASSERT_EQ(result.text(), "");
  std::string text = resolved_config_text(result.loaded.stages.at(0));
  for (std::size_t i; (i = text.find("  ")) != std::string::npos;) text.erase(i, 1);
  EXPECT_NE(text.find("\n" + std::string(GetParam().resolved)), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(
    All, SameValue,
    testing::Values(SameCase{"bf16: auto", "bf16: true # `bf16: auto`"}, SameCase{"tf32: auto", "tf32: false #"},
                    SameCase{"optimizer: paged_adamw_8bit",
                             "optimizer: adamw_bnb_8bit # `optimizer: paged_adamw_8bit`"},
                    SameCase{"optimizer: adamw_8bit", "optimizer: adamw_bnb_8bit #"},
                    SameCase{"num_epochs: 2.0", "num_epochs: 2 # `num_epochs: 2.0`"},
                    SameCase{"max_steps: -1", "max_steps: null # `max_steps: -1`"},
                    SameCase{"max_steps: none", "max_steps: null #"}, SameCase{"eval_steps: 0", "eval_steps: null #"},
                    SameCase{"eval_steps: ''", "eval_steps: null #"}, SameCase{"save_steps: false", "save_steps: 1 #"},
                    SameCase{"val_set_size: ''", "val_set_size: 0 #"},
                    SameCase{"val_set_size: None", "val_set_size: 0 #"}, SameCase{"fp16: ''", "fp16: false #"},
                    SameCase{"fp16: none", "fp16: false #"}, SameCase{"fp16: auto", "fp16: false #"},
                    SameCase{"init_from: false", "init_from: null #"},
                    SameCase{"dataset_prepared_path: none", "dataset_prepared_path: null #"},
                    SameCase{"nf4_cache: false", "nf4_cache: off #"}, SameCase{"test_datasets: ''", "test_datasets:"},
                    SameCase{"loss_watchdog_threshold: 0", "loss_watchdog_threshold: null #"},
                    SameCase{"lora_target_modules: ''", "lora_target_modules: [q_proj"}));

TEST(AxolotlValues, KeysThatRepeatWhatMistralIs) {
  const LoadResult result = load_text(
      config_with("model_type: MistralForCausalLM\ntokenizer_type: LlamaTokenizer\nis_mistral_derived_model: true\n"
                  "base_model_config: m\nspecial_tokens: {bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', "
                  "pad_token: '</s>'}\nseed: 7\ndata_seed: 7\nbnb_4bit_quant_type: nf4\n"));
  ASSERT_EQ(result.text(), "");
  EXPECT_EQ(
      result.loaded.notes,
      std::vector<std::string>{"accepted, as it says what the model or this program is: model_type, tokenizer_type, "
                               "is_mistral_derived_model, base_model_config, special_tokens, data_seed, "
                               "bnb_4bit_quant_type"});
  EXPECT_NE(resolved_config_text(result.loaded.stages[0]).find("# accepted, as it says what the model"),
            std::string::npos);
}

TEST(AxolotlValues, ReportsToServicesAreListedOnce) {
  const LoadResult result = load_text(
      config_with("wandb_project: a\nwandb_log_model: checkpoint\nmlflow_experiment_name: b\nhub_model_id: c/d\n"
                  "hub_strategy: every_save\nhf_use_auth_token: true\neval_table_size: 5\n"
                  "use_tensorboard: true\nreport_to: wandb\n"));
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.notes.size(), 1u);
  EXPECT_TRUE(result.loaded.notes[0].starts_with("accepted, but not done here ")) << result.loaded.notes[0];
}

TEST(AxolotlValues, OffInAnySpelling) {
  for (const char* off : {"0", "0.0", "''", "\"\"", "false", "False", "null", "~", "none", "None", "no", "off", "[]"}) {
    for (const char* key : {"noisy_embedding_alpha", "deepspeed", "warmup_ratio", "eval_table_size", "peft_use_dora"}) {
      EXPECT_EQ(load_text(config_with(std::string(key) + ": " + off + "\n")).text(), "") << key << " " << off;
    }
  }
}

TEST(AxolotlValues, SharesOfTheRunBecomeSteps) {
  LoadResult result =
      load_text(config_with("lr_scheduler: cosine\nwarmup_ratio: 0.1\nevals_per_epoch: 4\n"
                            "saves_per_epoch: 2\nnum_epochs: 2\nval_set_size: 0.1\n"));
  ASSERT_EQ(result.text(), "");
  StageConfig& stage = result.loaded.stages.at(0);
  resolve_shares(stage, 58, 29);
  EXPECT_EQ(stage.config.warmup_steps, 5);  // int(0.1 * 58)
  EXPECT_EQ(stage.config.eval_steps, 8);    // ceil(29 / 4)
  EXPECT_EQ(stage.config.save_steps, 15);
  const std::string text = resolved_config_text(stage);
  for (const char* written : {"# `warmup_ratio: 0.1`", "# `evals_per_epoch: 4`", "# `saves_per_epoch: 2`"})
    EXPECT_NE(text.find(written), std::string::npos) << text;
}

TEST(AxolotlValues, SharesAtTheirEdges) {
  LoadResult result = load_text(config_with("save_steps: 0.25\nevals_per_epoch: 1\nval_set_size: 2\n"));
  ASSERT_EQ(result.text(), "");
  StageConfig& stage = result.loaded.stages.at(0);
  resolve_shares(stage, 10, 10);
  EXPECT_EQ(stage.config.save_steps, 3);
  EXPECT_EQ(stage.config.eval_steps, std::nullopt);  // epoch ends
  resolve_shares(stage, 1, 1);
  EXPECT_EQ(stage.config.save_steps, 1);
}

struct ShareCase {
  const char* lines;
  const char* code;
  const char* text;
};

TEST(AxolotlValues, SharesThatContradict) {
  const ShareCase cases[] = {
      {"lr_scheduler: cosine\nwarmup_steps: 5\nwarmup_ratio: 0.1", "E0107",
       "`warmup_ratio` does not go with `warmup_steps`"},
      {"warmup_ratio: 0.1", "E0107", "`lr_scheduler: constant`"},
      {"lr_scheduler: cosine\nwarmup_ratio: 1.5", "E0104", "a share from 0 to 1"},
      {"saves_per_epoch: 0.5", "E0104", "a whole number from 1"},
      {"saves_per_epoch: 2\nsave_steps: 10", "E0107", "does not go with `save_steps`"},
      {"evals_per_epoch: 2\neval_steps: 0.1", "E0107", "does not go with `eval_steps`"},
      {"evals_per_epoch: often", "E0104", "found `often`"},
  };
  for (const ShareCase& each : cases) {
    const LoadResult result = load_text(config_with(std::string(each.lines) + "\n"));
    EXPECT_EQ(result.codes(), each.code) << each.lines;
    EXPECT_NE(result.text().find(each.text), std::string::npos) << result.text();
  }
}

// What changes results and is not offered is an error that names the nearest thing.
TEST(AxolotlValues, NearestThing) {
  struct Case {
    const char *line, *help, *why;
  };
  const Case cases[] = {
      {.line = "optimizer: paged_adamw_32bit",
       .help = "write `optimizer: adamw_bnb_8bit`",
       .why = "an Adam of bitsandbytes in 32 bits"},
      {.line = "optimizer: adamw_torch", .help = "write `optimizer: adamw_bnb_8bit`", .why = "the Adam of torch"},
      {.line = "bf16: full", .help = "write `bf16: true`", .why = "a mode of bf16"},
      {.line = "lr_scheduler: constant_with_warmup",
       .help = "write `lr_scheduler: constant`",
       .why = "a scheduler that has the warm-up in its name"},
      {.line = "lr_scheduler: polynomial",
       .help = "write `lr_scheduler: cosine`",
       .why = "a scheduler of another shape"},
      {.line = "max_grad_norm: 0", .help = "write `max_grad_norm: 1e9`", .why = "clipping is off"},
      {.line = "num_epochs: 2.5", .help = "write a whole number", .why = "a part of an epoch"},
      {.line = "save_total_limit: 1",
       .help = "write `save_total_limit: 2`",
       .why = "fewer checkpoints than a resume needs"},
      {.line = "adapter: ia3", .help = "write `adapter: qlora`", .why = "another kind of adapter"},
      {.line = "datasets: [{path: talks.jsonl, type: sharegpt}]",
       .help = "talks.jsonl --from sharegpt --out ",
       .why = "chats of ShareGPT"},
      {.line = "datasets: [{path: talks.jsonl, type: sharegpt.load_role}]",
       .help = "--from sharegpt",
       .why = "chats of ShareGPT with a loader"},
      {.line = "datasets: [{path: talks.jsonl, type: chat_template}]",
       .help = "talks.jsonl --from messages --out ",
       .why = "chats as messages"},
      {.line = "datasets: [{path: a.jsonl, type: alpaca}]",
       .help = "`type: completion`",
       .why = "instructions of Alpaca"},
      {.line = "datasets: [{path: a.jsonl, type: {system_prompt: x}}]",
       .help = "`type: completion`",
       .why = "a prompt format of its own"},
  };
  for (const auto& [line, help, why] : cases) {
    const bool data = std::string(line).starts_with("datasets");
    const std::string base = "base_model: m\noutput_dir: o\nlearning_rate: 1e-4\n";
    const LoadResult result = load_text(data ? base + line + "\n" : config_with(std::string(line) + "\n"));
    EXPECT_EQ(result.problems.size(), 1u) << why << "\n" << result.text();
    EXPECT_NE(result.text().find(help), std::string::npos) << why << "\n" << result.text();
  }
}

TEST(AxolotlValues, KeysByMeaning) {
  struct Case {
    const char *name, *key, *why;
  };
  const Case cases[] = {
      {.name = "lora_rank", .key = "lora_r", .why = "of LLaMA-Factory"},
      {.name = "epochs", .key = "num_epochs", .why = "without a prefix"},
      {.name = "num_train_epochs", .key = "num_epochs", .why = "of transformers"},
      {.name = "batch_size", .key = "micro_batch_size", .why = "without a prefix"},
      {.name = "per_device_train_batch_size", .key = "micro_batch_size", .why = "of transformers"},
      {.name = "lr", .key = "learning_rate", .why = "an abbreviation"},
      {.name = "max_seq_length", .key = "sequence_len", .why = "of TRL"},
      {.name = "max-seq-length", .key = "sequence_len", .why = "with hyphens"},
      {.name = "cutoff_len", .key = "sequence_len", .why = "of LLaMA-Factory"},
      {.name = "Model_Name_Or_Path", .key = "base_model", .why = "of transformers, in capitals"},
      {.name = "lr_scheduler_type", .key = "lr_scheduler", .why = "of transformers"},
      {.name = "optim", .key = "optimizer", .why = "of transformers"},
      {.name = "val_size", .key = "val_set_size", .why = "of LLaMA-Factory"},
      {.name = "random_seed", .key = "seed", .why = "with a prefix"},
  };
  for (const auto& [name, key, why] : cases) {
    const LoadResult result = load_text(config_with(std::string(name) + ": 1\n"));
    EXPECT_EQ(result.codes(), "E0101") << why;
    EXPECT_NE(result.text().find(std::string("the key with this meaning is `") + key + "`"), std::string::npos)
        << result.text();
  }
}

// Axolotl trains every token of a completion, whatever train_on_inputs says.
TEST(AxolotlValues, CompletionsAreTrainedAsAWhole) {
  const std::string text =
      "base_model: m\noutput_dir: o\nlearning_rate: 1e-4\ndatasets: [{path: a.txt, type: completion}]\n";
  for (const char* more : {"", "train_on_inputs: false\n", "train_on_inputs: true\n"}) {
    const LoadResult result = load_text(text + more);
    ASSERT_EQ(result.text(), "") << more;
    EXPECT_TRUE(result.config().train_on_inputs) << more;
  }
}

}  // namespace
}  // namespace shori
