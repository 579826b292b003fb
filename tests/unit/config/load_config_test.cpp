#include "shori/config/load_config.h"

#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

// The YAML of the published model card, completed by datasets and output_dir.
constexpr const char* kReference =
    "base_model: /home/anon/AI-Models/LLM/Mistral-7B-Instruct-v0.2\n"
    "load_in_4bit: true\nadapter: qlora\nsequence_len: 16384\nsample_packing: true\npad_to_sequence_len: false\n"
    "gradient_accumulation_steps: 2\nmicro_batch_size: 1\neval_batch_size: 1\nnum_epochs: 2\n"
    "optimizer: adamw_bnb_8bit\nlr_scheduler: constant\n"
    "learning_rate: 0.0000725 -> 0.0000550 -> 0.0000375 -> 0.0000350\n"
    "weight_decay: 0.05\ntrain_on_inputs: true\nbf16: true\nfp16: false\ntf32: true\n"
    "lora_r: 20\nlora_alpha: 16\nlora_dropout: 0.1\nlora_target_linear: true\n"
    "output_dir: runs/shori\n"
    "datasets:\n"
    "  - {path: data/mid, category: mid}\n  - {path: data/low, category: low}\n"
    "  - {path: data/top, category: top}\n  - {path: data/high, category: high}\n"
    "  - {path: data/pg13, category: top-pg13}\n";

TEST(LoadConfig, ReferenceYamlLoadsAsItStands) {
  const LoadResult result = load_text(kReference);
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.stages.size(), 5u);
  EXPECT_TRUE(result.loaded.is_recipe);
  const double rates[] = {7.25e-5, 5.5e-5, 3.75e-5, 3.5e-5, 3.5e-5};
  for (std::size_t i = 0; i < 5; ++i) {
    const StageConfig& stage = result.loaded.stages[i];
    EXPECT_EQ(stage.name, kCategories[i]);
    EXPECT_EQ(stage.previous_stage, static_cast<int>(i) - 1);
    EXPECT_EQ(stage.config.learning_rate, rates[i]);
    ASSERT_EQ(stage.config.datasets.size(), 1u);
    EXPECT_EQ(stage.config.datasets[0].category, stage.name);
    EXPECT_EQ(stage.config.output_dir, result.loaded.output_dir + "/" + stage.name);
  }
  const TrainConfig& c = result.config();
  EXPECT_EQ(c.base_model, "/home/anon/AI-Models/LLM/Mistral-7B-Instruct-v0.2");
  EXPECT_EQ(c.sequence_len, 16384);
  EXPECT_EQ(c.gradient_accumulation_steps, 2);
  EXPECT_EQ(c.num_epochs, 2);
  EXPECT_EQ(c.weight_decay, 0.05);
  EXPECT_EQ(c.lora_dropout, 0.1);
  EXPECT_TRUE(c.train_on_inputs && c.bf16 && c.tf32 && !c.fp16 && c.lora_target_linear);
}

TEST(LoadConfig, Defaults) {
  const LoadResult result = load_text(config_with(""));
  ASSERT_EQ(result.text(), "");
  const TrainConfig& c = result.config();
  EXPECT_EQ(c.adapter, AdapterKind::kQlora);
  EXPECT_TRUE(c.load_in_4bit && c.sample_packing && c.bf16 && c.lora_target_linear && c.adam_zero_gradient_guard);
  EXPECT_FALSE(c.pad_to_sequence_len || c.train_on_inputs || c.fp16 || c.tf32 || c.warnings_as_errors);
  EXPECT_EQ(c.sequence_len, 2048);
  EXPECT_EQ(c.micro_batch_size, 1);
  EXPECT_EQ(c.eval_batch_size, 1);
  EXPECT_EQ(c.gradient_accumulation_steps, 1);
  EXPECT_EQ(c.num_epochs, 1);
  EXPECT_EQ(c.max_steps, std::nullopt);
  EXPECT_EQ(c.optimizer, OptimizerKind::kAdamwBnb8bit);
  EXPECT_EQ(c.lr_scheduler, LrScheduler::kConstant);
  EXPECT_EQ(c.warmup_steps, 0);
  EXPECT_EQ(c.weight_decay, 0.0);
  EXPECT_EQ(c.max_grad_norm, 1.0);
  EXPECT_EQ(c.lora_r, 20);
  EXPECT_EQ(c.lora_alpha, 16);
  EXPECT_EQ(c.lora_dropout, 0.0);
  EXPECT_EQ(c.lora_target_modules, all_lora_modules());
  EXPECT_EQ(c.adam_beta1, 0.9);
  EXPECT_EQ(c.adam_beta2, 0.999);
  EXPECT_EQ(c.adam_epsilon, 1e-8);
  EXPECT_EQ(c.seed, 42);
  EXPECT_EQ(c.device, DeviceChoice::kAuto);
  EXPECT_EQ(c.eval_steps, std::nullopt);
  EXPECT_EQ(c.val_set_size, 0.0);
  EXPECT_EQ(c.save_steps, 1);
  EXPECT_EQ(c.save_total_limit, 2);
  EXPECT_EQ(c.roles_to_train, TextList{"message"});
  EXPECT_EQ(c.excess_length_strategy, OverlongPolicy::kRaise);
  EXPECT_EQ(c.optimizer_state, OptimizerStart::kFresh);
  EXPECT_EQ(c.resume_on_other_build, OtherBuild::kError);
  EXPECT_EQ(c.compat, CompatMode::kNone);
  EXPECT_EQ(c.blockml.eos, EosRule::kEnd);
  EXPECT_TRUE(c.blockml.bos && c.blockml.train_on_speaker && !c.blockml.repeat_scenario);
  EXPECT_FALSE(result.loaded.is_recipe);
  EXPECT_EQ(result.loaded.name, "x");
  EXPECT_EQ(result.loaded.stages[0].previous_stage, -1);
}

TEST(LoadConfig, PathsBeginAtTheFolderOfTheFile) {
  const ConfigFolder folder;
  Diagnostics diagnostics;
  const std::string file =
      folder.write("configs/c.yaml",
                   "base_model: org/name\noutput_dir: ../runs/x\ninit_from: /abs/run\nlearning_rate: 1e-4\n"
                   "datasets: [{path: ../data/high/, type: blockml_jsonl, field: body, category: high}]\n");
  const LoadedConfig loaded = load_config(file, {}, diagnostics);
  ASSERT_FALSE(diagnostics.has_errors());
  const TrainConfig& c = loaded.stages[0].config;
  EXPECT_EQ(c.output_dir, folder.path("runs/x"));
  EXPECT_EQ(c.init_from, "/abs/run");
  EXPECT_EQ(c.base_model, "org/name");
  EXPECT_EQ(c.datasets[0].path, "../data/high/");
  EXPECT_EQ(c.datasets[0].resolved_path, folder.path("data/high/"));
  EXPECT_EQ(c.datasets[0].type, "blockml_jsonl");
  EXPECT_EQ(c.datasets[0].field, "body");
  EXPECT_EQ(c.datasets[0].location.line, 5u);
  EXPECT_EQ(loaded.stages[0].origin("init_from").location.line, 3u);
  EXPECT_EQ(loaded.stages[0].origin("lora_r").kind, ValueOrigin::Kind::kDefault);
}

TEST(LoadConfig, UnknownKeyIsShownWithCaretAndSimilarName) {
  const ConfigFolder folder;
  Diagnostics diagnostics;
  const std::string file = folder.write("stage.yaml", config_with("\n\n\n\n\n\n\n\n\n\n\n\nlora_apha: 16\n"));
  load_config(file, {}, diagnostics);
  ASSERT_EQ(diagnostics.all().size(), 1u);
  const std::string text = format_diagnostic(diagnostics.all()[0]);
  const std::string expected =
      "error[E0101]: unknown key `lora_apha`\n  --> " + file + ":17:1\n   |\n17 | lora_apha: 16\n   | ^^^^^^^^^";
  EXPECT_EQ(text.substr(0, expected.size()), expected) << text;
  EXPECT_NE(text.find("= help: a key with a similar name exists: `lora_alpha`"), std::string::npos) << text;
  EXPECT_NE(text.find("= explain: shori-train --explain E0101"), std::string::npos) << text;
}

struct ValueCase {
  const char* line;
  const char* code;  // empty: accepted
  const char* said;  // part of the printed message
};

class ConfigValue : public testing::TestWithParam<ValueCase> {};

TEST_P(ConfigValue, IsTreatedAsDocumented) {
  const ValueCase& c = GetParam();
  std::string text = config_with("");
  const std::string key = std::string(c.line).substr(0, std::string(c.line).find(':') + 1);
  if (const std::size_t at = text.find(key); at != std::string::npos) {
    text.replace(at, text.find('\n', at) - at, c.line);
  } else {
    text += std::string(c.line) + "\n";
  }
  const LoadResult result = load_text(text);
  EXPECT_EQ(result.codes(), c.code) << result.text();
  EXPECT_NE(result.text().find(c.said), std::string::npos) << result.text();
}

INSTANTIATE_TEST_SUITE_P(
    Yaml, ConfigValue,
    testing::Values(ValueCase{"lora_r: 010", "E0106", "`010` has more than one meaning"},
                    ValueCase{"lora_r: 0o10", "E0106", "`0o10`"}, ValueCase{"lora_r: 0x10", "E0106", "`0x10`"},
                    ValueCase{"lora_r: 0b11", "E0106", "`0b11`"}, ValueCase{"lora_r: 1_000", "E0106", "`1_000`"},
                    ValueCase{"lora_r: 1:30", "E0106", "`1:30`"}, ValueCase{"learning_rate: 1e-5", "", ""},
                    ValueCase{"learning_rate: 7.25e-5", "", ""},
                    ValueCase{"learning_rate: 7.25e5", "E0103", "`learning_rate` 725000 is outside (0, 0.01]"},
                    ValueCase{"learning_rate: 7.25e5", "E0103", "write `7.25e-5`"},
                    ValueCase{"learning_rate: 7,25e-5", "E0104", "`7,25e-5`"},
                    ValueCase{"lora_r: \"5\"", "E0104", "is quoted"}, ValueCase{"lora_r: '5'", "E0104", "is quoted"},
                    ValueCase{"lora_r: +5", "", ""}, ValueCase{"weight_decay: 0.", "", ""},
                    ValueCase{"lora_r: 3.0", "E0104", "`lora_r` must be an integer, found `3.0`"},
                    ValueCase{"learning_rate: .nan", "E0110", "`learning_rate` is not a finite number: `.nan`"},
                    ValueCase{"learning_rate: -.inf", "E0110", "`-.inf`"},
                    ValueCase{"learning_rate: 1e400", "E0103", "`learning_rate` 1e400"},
                    ValueCase{"bf16: yes", "E0104", "`bf16` must be `true` or `false`, found `yes`"},
                    ValueCase{"bf16: on", "E0104", "`on`"}, ValueCase{"bf16: TRUE", "", ""},
                    ValueCase{"bf16: False", "", ""},
                    ValueCase{"sequence_len: 16k", "E0104", "`sequence_len` must be an integer, found `16k`"},
                    ValueCase{"max_steps:", "", ""}, ValueCase{"lora_r: [5]", "E0104", "found `a list`"},
                    ValueCase{"lora_r: {a: 1}", "E0104", "found `a mapping`"}));

INSTANTIATE_TEST_SUITE_P(
    Range, ConfigValue,
    testing::Values(ValueCase{"learning_rate: 0", "E0103", "`learning_rate` 0 is outside (0, 0.01]"},
                    ValueCase{"learning_rate: 0.01", "", ""}, ValueCase{"learning_rate: 0.011", "E0103", "0.011"},
                    ValueCase{"lora_r: 0", "E0103", "[1, 1024]"}, ValueCase{"lora_r: 1024", "", ""},
                    ValueCase{"lora_dropout: 1", "E0103", "[0, 1)"}, ValueCase{"lora_dropout: 0.99", "", ""},
                    ValueCase{"sequence_len: 1", "E0103", "[2, 1048576]"},
                    ValueCase{"save_total_limit: 1", "E0103", "[2, "}, ValueCase{"max_steps: -2", "E0103", "-2"},
                    ValueCase{"seed: 99999999999999999999", "E0103", "99999999999999999999"},
                    ValueCase{"val_set_size: 0.05", "", ""}, ValueCase{"val_set_size: 20", "", ""},
                    ValueCase{"val_set_size: 1.5", "E0103", "neither a share below 1 nor a whole number"},
                    ValueCase{"eval_steps: 1.5", "E0103", "neither a share below 1 nor a whole number"},
                    ValueCase{"eval_steps: 0.25", "", ""}, ValueCase{"adam_beta2: 1", "E0103", "(0, 1)"},
                    ValueCase{"max_grad_norm: 0", "E0103", "(0, "},
                    ValueCase{"num_epochs: 0", "E0115", "this config trains 0 steps"},
                    ValueCase{"max_steps: 0", "E0115", "`max_steps: 0`"}));

INSTANTIATE_TEST_SUITE_P(
    Words, ConfigValue,
    testing::Values(ValueCase{"lr_scheduler: linear", "", ""},
                    ValueCase{"lr_scheduler: cosin", "E0104", "a value with a similar name exists: `cosine`"},
                    ValueCase{"optimizer: adamw_torch", "E0104", "must be adamw_bnb_8bit, found `adamw_torch`"},
                    ValueCase{"device: gpu", "E0104", "one of auto, cpu, cuda"},
                    ValueCase{"compat: axolotl-2024", "", ""}, ValueCase{"compat: axolotl", "E0104", "axolotl-2024"},
                    ValueCase{"roles_to_train: [message, ooc]", "", ""},
                    ValueCase{"roles_to_train: [mesage]", "E0104", "`message`"},
                    ValueCase{"roles_to_train: message", "E0104", "a list"},
                    ValueCase{"roles_to_train: [ooc, ooc]", "E0107", "names `ooc` twice"},
                    ValueCase{"blockml: {eos: never}", "", ""},
                    ValueCase{"blockml: {eos: nevr}", "E0104", "`blockml.eos` must be one of end, conversation, never"},
                    ValueCase{"blockml: {eoss: end}", "E0101", "`eos`"},
                    ValueCase{"blockml: {lora_r: 4}", "E0101", "belongs at the top level"},
                    ValueCase{"blockml.eos: end", "E0101", "under `blockml`"},
                    ValueCase{"eos: end", "E0101", "under `blockml`"},
                    ValueCase{"blockml: never", "E0104", "must be a mapping"}));

INSTANTIATE_TEST_SUITE_P(
    Together, ConfigValue,
    testing::Values(
        ValueCase{"load_in_4bit: false", "E0107", "does not go with `adapter: qlora`"},
        ValueCase{"adapter: lora", "E0107", "write `load_in_4bit: false`"},
        ValueCase{"adapter: lora\nload_in_4bit: false", "", ""},
        ValueCase{"fp16: true", "E0107", "`fp16: true` is not supported"},
        ValueCase{"lora_target_modules: [q_proj, v_proj]", "", ""},
        ValueCase{"lora_target_modules: [q_proj]\nlora_target_linear: true", "E0107", "only some of the modules"},
        ValueCase{"lora_target_modules: []", "E0107", "no module would get an adapter"},
        ValueCase{"lora_target_linear: false", "E0107", "no module would get an adapter"},
        ValueCase{"train_on_inputs: true\nroles_to_train: [message]", "E0107", "every token is a target"},
        ValueCase{"train_on_inputs: true\nblockml: {train_on_speaker: false}", "E0107", "`blockml.train_on_speaker`"},
        ValueCase{"compat: axolotl-2024\nblockml: {eos: never}", "E0107", "`blockml.eos: never`"},
        ValueCase{"axolotl_step_estimate: true", "E0107", "only with `compat: axolotl-2024`"},
        ValueCase{"compat: axolotl-2024\naxolotl_step_estimate: true", "", ""},
        ValueCase{"warmup_steps: 3", "E0107", "`lr_scheduler: constant`"},
        ValueCase{"warmup_steps: 3\nlr_scheduler: cosine", "", ""},
        ValueCase{"optimizer_state: carry", "E0107", "no state to carry"},
        ValueCase{"optimizer_state: carry\ninit_from: runs/a", "", ""},
        ValueCase{"val_set_size: 2\ntest_datasets: [{path: t.txt}]", "E0107", "`test_datasets`"},
        ValueCase{"name: a/b", "E0104", "`name` must be usable"}));

INSTANTIATE_TEST_SUITE_P(
    Lint, ConfigValue,
    testing::Values(
        ValueCase{"lint: {prose/thoughts: error, text/u2581: off, internal_hosts: [a.org], usernames: u.txt}", "", ""},
        ValueCase{"lint:", "", ""}, ValueCase{"lint: {}", "", ""},
        ValueCase{"lint: warn", "E0104", "must be a mapping"},
        ValueCase{"lint: {prose/thougts: warn}", "E0101", "`prose/thoughts`"},
        ValueCase{"lint: {prose/thoughts: eror}", "E0104", "`error`"},
        ValueCase{"lint: {prose/thoughts: [warn]}", "E0104", "off, info, warn or error"},
        ValueCase{"lint: {internal_hosts: a.org}", "E0104", "a list of hosts"},
        ValueCase{"lint: {usernames: [a]}", "E0104", "a file"},
        ValueCase{"blockml: {length_unit: words, default_length: auto}", "", ""},
        ValueCase{"blockml: {default_length: midium}", "E0104", "`medium`"},
        ValueCase{"blockml: {length_buckets: {nano: 5, huge: 900}}", "", ""},
        ValueCase{"blockml: {length_buckets: {nano: 24}}", "E0107", "does not rise: nano 24, micro 24"},
        ValueCase{"blockml: {length_buckets: {enormous: 900}}", "E0101", "no length `enormous`"},
        ValueCase{"blockml: {length_buckets: {nano: few}}", "E0104", "a whole number"},
        ValueCase{"blockml: {length_buckets: [1, 2]}", "E0104", "must be a mapping"}));

TEST(LoadConfig, LintAndLengthsAreTakenOver) {
  const LoadResult result = load_text(
      config_with("lint: {order/tags: error, usernames: lists/users.txt, internal_hosts: [Forum.Example.org]}\n"
                  "blockml: {length_buckets: {nano: 5}, length_unit: chars, default_length: short}\n"));
  ASSERT_EQ(result.codes(), "") << result.text();
  const TrainConfig& config = result.config();
  EXPECT_EQ(config.lint.levels[18], LintLevel::kError);
  EXPECT_EQ(kWords<LintRule>[18], "order/tags");
  EXPECT_EQ(config.lint.levels[17], std::nullopt);
  EXPECT_TRUE(config.lint.resolved_usernames.ends_with("/lists/users.txt"));
  EXPECT_EQ(config.lint.internal_hosts, std::vector<std::string>{"Forum.Example.org"});
  EXPECT_EQ(config.blockml.length_buckets[0], 5);
  EXPECT_EQ(config.blockml.length_buckets[1], 24);
  EXPECT_EQ(config.blockml.length_unit, LengthUnit::kChars);
  EXPECT_EQ(config.blockml.default_length, LengthHint::kShort);
}

INSTANTIATE_TEST_SUITE_P(
    Datasets, ConfigValue,
    testing::Values(ValueCase{"datasets: [{path: a.jsonl, type: tokenized}, {path: b.txt}]", "", ""},
                    ValueCase{"datasets: []", "E0114", "required key `datasets` is empty"},
                    ValueCase{"datasets: a.txt", "E0104", "must be a list of entries"},
                    ValueCase{"datasets: [a.txt]", "E0104", "write `- path: a.txt`"},
                    ValueCase{"datasets: [{type: blockml}]", "E0114", "required key `path`"},
                    ValueCase{"datasets: [{path: a, tpye: blockml}]", "E0101", "`type`"},
                    ValueCase{"datasets: [{path: a, type: alpaca}]", "E0104", "one of blockml, blockml_jsonl"},
                    ValueCase{"datasets: [{path: a, type: blockml_yaml}]", "", ""},
                    ValueCase{"datasets: [{path: a, type: blockml_yaml, field: x}]", "E0107", "`field`"},
                    ValueCase{"datasets: [{path: a, category: hihg}]", "E0104", "`high`"},
                    ValueCase{"datasets: [{path: a, rating: [pg13, unknown]}]", "", ""},
                    ValueCase{"datasets: [{path: a, rating: [pg31]}]", "E0104", "`pg13`"},
                    ValueCase{"datasets: [{path: a, rating: pg13}]", "E0104", "a list of texts"},
                    ValueCase{"datasets: [{path: a, tags_rating: {explicit: [nsfw, very lewd]}}]", "", ""},
                    ValueCase{"datasets: [{path: a, tags_rating: {explict: [nsfw]}}]", "E0104", "`explicit`"},
                    ValueCase{"datasets: [{path: a, tags_rating: {explicit: nsfw}}]", "E0104", "a list of texts"},
                    ValueCase{"datasets: [{path: a, tags_rating: [nsfw]}]", "E0104", "must be a mapping"},
                    ValueCase{"datasets: [{path: a, rating: []}]", "", ""},
                    ValueCase{"datasets: [{path: a, ds_type: parquet}]", "E0112", "extension"},
                    ValueCase{"datasets: [{path: a, type: tokenized, field: x}]", "E0107", "`field`"},
                    ValueCase{"datasets: [{path: a, type: completion}, {path: b}]", "E0107",
                              "`train_on_inputs: false`"}));

TEST(LoadConfig, AllErrorsInOneGo) {
  const LoadResult result = load_text("lora_r: x\nlora_apha: 1\nadapter: lora\ndeepspeed: z.json\nnum_epochs: 0\n");
  EXPECT_EQ(result.codes(), "E0101 E0112 E0104 E0114 E0114 E0114 E0114 E0107 E0115") << result.text();
}

TEST(LoadConfig, RefusedValueIsNotComparedWithItsDefault) {
  const LoadResult result = load_text(config_with("adapter: lroa\nload_in_4bit: false\n"));
  EXPECT_EQ(result.codes(), "E0104") << result.text();
}

TEST(LoadConfig, TagsAnchorsAndAliasesAreRefused) {
  for (const char* lines : {"lora_r: !!int 5\n", "lora_r: &a 5\n", "seed: &a 5\nlora_r: *a\n", "<<: {lora_r: 5}\n"}) {
    const LoadResult result = load_text(config_with(lines));
    ASSERT_FALSE(result.problems.empty()) << lines;
    EXPECT_EQ(result.problems[0].code, "E0109") << result.text();
  }
}

TEST(LoadConfig, DuplicateKeyIsRefused) {
  const LoadResult result = load_text(config_with("lora_r: 4\nlora_r: 8\n"));
  ASSERT_EQ(result.codes(), "E0102") << result.text();
  EXPECT_EQ(result.problems[0].location.line, 6u);
}

TEST(LoadConfig, MissingFileNamesASimilarOne) {
  const ConfigFolder folder;
  folder.write("stage_low.yaml", "");
  Diagnostics diagnostics;
  load_config(folder.path("stage_lwo.yaml"), {}, diagnostics);
  ASSERT_EQ(diagnostics.all().size(), 1u);
  EXPECT_EQ(diagnostics.all()[0].code, "E0108");
  ASSERT_EQ(diagnostics.all()[0].helps.size(), 1u);
  EXPECT_NE(diagnostics.all()[0].helps[0].find("stage_low.yaml"), std::string::npos);
}

TEST(LoadConfig, LoraModulesAreASetInOneOrder) {
  const LoadResult part = load_text(config_with("lora_target_modules: [v_proj, q_proj]\n"));
  EXPECT_EQ(part.config().lora_target_modules, (TextList{"q_proj", "v_proj"}));
  EXPECT_FALSE(part.config().lora_target_linear);
  EXPECT_EQ(part.loaded.stages[0].origin("lora_target_linear").kind, ValueOrigin::Kind::kDerived);
  const LoadResult all =
      load_text(config_with("lora_target_linear: true\n"
                            "lora_target_modules: [gate_proj, down_proj, up_proj, q_proj, v_proj, k_proj, o_proj]\n"));
  ASSERT_EQ(all.text(), "");
  EXPECT_EQ(all.config().lora_target_modules, all_lora_modules());
  EXPECT_TRUE(all.config().lora_target_linear);
}

TEST(LoadConfig, KeysWithoutEffectAreWarnedOfOnce) {
  const LoadResult result = load_text(config_with("eval_steps: 0.25\nloss_watchdog_patience: 2\n"));
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.warnings.size(), 2u);
  EXPECT_NE(result.loaded.warnings[0].message.find("`eval_steps` has no effect"), std::string::npos);
  const LoadResult empty = load_text(config_with("adapter:\nevals_per_epoch: 2\n"));
  ASSERT_EQ(empty.loaded.warnings.size(), 2u);
  EXPECT_NE(empty.loaded.warnings[0].message.find("`evals_per_epoch` has no effect"), std::string::npos);
  EXPECT_NE(empty.loaded.warnings[1].message.find("`adapter` is empty: `qlora` is trained"), std::string::npos);
}

}  // namespace
}  // namespace shori
