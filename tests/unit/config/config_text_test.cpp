#include "shori/config/config_text.h"

#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

JsonValue stored(const TrainConfig& config, ConfigScope scope) {
  JsonProblem problem;
  auto value = parse_json(canonical_config(config, scope), JsonLimits{}, problem);
  EXPECT_TRUE(value.has_value()) << problem.message;
  return value.value_or(JsonValue{});
}

// Written by hand from the list of keys and the bits of each real number, so that a change of a name, a default or the
// form of canonical JSON, which would part old runs from their configs, is seen.
constexpr const char* kDefaultNumeric =
    R"({"adam_beta1":"3feccccccccccccd","adam_beta2":"3feff7ced916872b","adam_epsilon":"3e45798ee2308c3a",)"
    R"("adam_zero_gradient_guard":true,"adapter":"qlora","axolotl_step_estimate":false,"bf16":true,"blockml.bos":true,)"
    R"("blockml.default_length":"none","blockml.eos":"end",)"
    R"("blockml.length_buckets":{"huge":800,"long":320,"massive":512,"medium":192,"micro":24,"nano":12,"short":96,)"
    R"("tiny":48},"blockml.length_unit":"tokens",)"
    R"("blockml.repeat_scenario":false,"blockml.train_on_speaker":true,"compat":"none",)"
    R"("datasets":[{"field":"","type":""}],"dedupe":false,"excess_length_strategy":"raise",)"
    R"("gradient_accumulation_steps":1,"learning_rate":"3f130164840e171a","load_in_4bit":true,"lora_alpha":16,)"
    R"("lora_dropout":"0000000000000000","lora_r":20,"lora_target_linear":true,)"
    R"("lora_target_modules":["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"],)"
    R"("lr_scheduler":"constant","max_grad_norm":"3ff0000000000000","max_steps":null,"micro_batch_size":1,)"
    R"("num_epochs":1,"optimizer_state":"fresh","pad_to_sequence_len":false,)"
    R"("roles_to_train":["message"],"sample_packing":true,"seed":42,"sequence_len":2048,"skip_samples":[],)"
    R"("train_on_eos":"all","train_on_inputs":false,"val_set_size":"0000000000000000",)"
    R"("warmup_steps":0,"weight_decay":"0000000000000000"})";

TrainConfig small_config() {
  TrainConfig config;
  config.learning_rate = 7.25e-5;
  config.datasets.resize(1);
  config.datasets[0].path = "d.txt";
  config.datasets[0].resolved_path = "/data/d.txt";
  return config;
}

TEST(CanonicalConfig, NumericScopeIsGolden) {
  EXPECT_EQ(canonical_config(small_config(), ConfigScope::kNumeric), kDefaultNumeric);
  // printf %s '<the text above>' | sha256sum
  EXPECT_EQ(config_hash(small_config()), "320e7be62d6c659c9c97d61b0ceb7875af0a86a9c7976b9fd43cbf9b080d5c8b");
}

TEST(CanonicalConfig, ScopesDifferInPlacesAndOutput) {
  const JsonValue portable = stored(small_config(), ConfigScope::kPortable);
  EXPECT_NE(portable.find("save_steps"), nullptr);
  EXPECT_EQ(portable.find("output_dir"), nullptr);
  EXPECT_EQ(portable.find("base_model"), nullptr);
  EXPECT_EQ(canonical_config(small_config(), ConfigScope::kPortable).find("d.txt"), std::string::npos);
  const JsonValue complete = stored(small_config(), ConfigScope::kComplete);
  ASSERT_NE(complete.find("datasets"), nullptr);
  EXPECT_EQ(complete.find("datasets")->items[0].find("path")->text, "/data/d.txt");
  EXPECT_NE(complete.find("output_dir"), nullptr);
}

TEST(ConfigHash, IgnoresWhatDoesNotDecideTheNumbers) {
  const std::string hash = config_hash(small_config());
  TrainConfig config = small_config();
  config.name = "other";
  config.base_model = "/models/moved";
  config.output_dir = "/runs/x";
  config.init_from = "/runs/w";
  config.device = DeviceChoice::kCpu;
  config.datasets[0].path = config.datasets[0].resolved_path = "/elsewhere";
  config.datasets[0].category = "high";
  config.save_steps = 10;
  config.threads = 2;
  config.eval_steps = 0.5;
  config.eval_batch_size = 4;
  config.tf32 = true;
  config.lint.levels[0] = LintLevel::kError;
  config.lint.internal_hosts = {"x.org"};
  EXPECT_EQ(config_hash(config), hash);
}

TEST(ConfigHash, SeesEveryNumericKey) {
  const std::string hash = config_hash(small_config());
  const std::vector<void (*)(TrainConfig&)> changes = {
      [](TrainConfig& c) { c.lora_r = 21; },
      [](TrainConfig& c) { c.learning_rate = 7.250000000000001e-5; },
      [](TrainConfig& c) { c.max_steps = 7; },
      [](TrainConfig& c) { c.bf16 = false; },
      [](TrainConfig& c) { c.compat = CompatMode::kAxolotl2024; },
      [](TrainConfig& c) { c.blockml.eos = EosRule::kNever; },
      [](TrainConfig& c) { c.lora_target_modules = {"q_proj"}; },
      [](TrainConfig& c) { c.skip_samples = {"a:1"}; },
      [](TrainConfig& c) { c.datasets[0].type = "completion"; },
      [](TrainConfig& c) { c.datasets.push_back({}); },
      [](TrainConfig& c) { c.datasets[0].rating = {"pg13"}; },
      [](TrainConfig& c) { c.datasets[0].tags_rating[1] = {"nsfw"}; },
      [](TrainConfig& c) { c.blockml.length_buckets[0] = 13; },
      [](TrainConfig& c) { c.blockml.length_unit = LengthUnit::kWords; },
      [](TrainConfig& c) { c.blockml.default_length = LengthHint::kAuto; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    TrainConfig config = small_config();
    changes[i](config);
    EXPECT_NE(config_hash(config), hash) << "change " << i;
  }
}

TEST(ConfigDifferences, EqualConfigsHaveNone) {
  for (ConfigScope scope : {ConfigScope::kNumeric, ConfigScope::kPortable, ConfigScope::kComplete}) {
    EXPECT_TRUE(config_differences(stored(small_config(), scope), small_config()).empty());
  }
}

TEST(ConfigDifferences, NameTheKeyBothValuesAndTheClass) {
  TrainConfig now = small_config();
  now.learning_rate = 5.5e-5;
  now.max_steps = 3;
  now.save_steps = 10;
  now.output_dir = "/runs/x";
  const auto differences = config_differences(stored(small_config(), ConfigScope::kComplete), now);
  ASSERT_EQ(differences.size(), 4u);
  EXPECT_EQ(differences[0].key, "output_dir");
  EXPECT_EQ(differences[0].key_class, KeyClass::kPlace);
  EXPECT_EQ(differences[1].key, "max_steps");
  EXPECT_EQ(differences[1].stored, "null");
  EXPECT_EQ(differences[1].present, "3");
  EXPECT_EQ(differences[2].key, "learning_rate");
  EXPECT_EQ(differences[2].key_class, KeyClass::kNumeric);
  EXPECT_EQ(differences[2].stored, "7.25e-5");
  EXPECT_EQ(differences[2].present, "5.5e-5");
  EXPECT_EQ(differences[3].key, "save_steps");
  EXPECT_EQ(differences[3].key_class, KeyClass::kOutput);
}

// Runs from before `matmul` multiplied as its default does where they resume, and keep their hash.
TEST(ConfigDifferences, RecordsWithoutMatmulHaveItsDefault) {
  TrainConfig config = small_config();
  EXPECT_EQ(canonical_config(config, ConfigScope::kComplete).find("matmul"), std::string::npos);
  const JsonValue older = stored(config, ConfigScope::kComplete);
  EXPECT_TRUE(config_differences(older, config).empty());
  config.matmul = MatmulKernel::kNf4;
  EXPECT_NE(config_hash(config), config_hash(small_config()));
  const auto chosen = config_differences(older, config);
  ASSERT_EQ(chosen.size(), 1u);
  EXPECT_EQ(chosen[0].key, "matmul");
  EXPECT_EQ(chosen[0].stored, "auto");
  EXPECT_EQ(chosen[0].present, "nf4");
  const auto dropped = config_differences(stored(config, ConfigScope::kComplete), small_config());
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].stored, "nf4");
  EXPECT_EQ(dropped[0].present, "auto");
}

TEST(ConfigDifferences, OfDatasets) {
  TrainConfig moved = small_config();
  moved.datasets[0].resolved_path = "/moved/d.txt";
  EXPECT_TRUE(config_differences(stored(small_config(), ConfigScope::kPortable), moved).empty());
  const auto place = config_differences(stored(small_config(), ConfigScope::kComplete), moved);
  ASSERT_EQ(place.size(), 1u);
  EXPECT_EQ(place[0].key_class, KeyClass::kPlace);
  moved.datasets[0].type = "completion";
  const auto form = config_differences(stored(small_config(), ConfigScope::kComplete), moved);
  ASSERT_EQ(form.size(), 1u);
  EXPECT_EQ(form[0].key_class, KeyClass::kNumeric);
}

TEST(ConfigDifferences, KeysThatOneSideLacks) {
  JsonValue old = stored(small_config(), ConfigScope::kNumeric);
  std::erase_if(old.members, [](const auto& member) { return member.first == "lora_r"; });
  JsonValue number;
  number.kind = JsonValue::Kind::kNumber;
  number.text = "3";
  old.members.emplace_back("from_the_future", number);
  const auto differences = config_differences(old, small_config());
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "lora_r");
  EXPECT_EQ(differences[0].stored, "(not recorded)");
  EXPECT_EQ(differences[1].key, "from_the_future");
  EXPECT_EQ(differences[1].stored, "3");
}

// The record of a run that an earlier version began, for which `tf32`, `optimizer` and `fp16` were numeric.
JsonValue record_of_earlier_version(const char* tf32) {
  JsonProblem problem;
  std::string config = canonical_config(small_config(), ConfigScope::kComplete);
  const std::string before = "\"tf32\":false";
  config.replace(config.find(before), before.size(), concat("\"tf32\":", tf32));
  return *parse_json(concat(R"({"config":)", config, R"(,"config_hash":")", std::string(64, 'a'), "\"}"), {}, problem);
}

TEST(HasNumbersOf, HashesThatAgreeSuffice) {
  JsonProblem problem;
  const std::string hash = config_hash(small_config());
  EXPECT_TRUE(has_numbers_of(*parse_json(concat(R"({"config_hash":")", hash, "\"}"), {}, problem), small_config()));
  EXPECT_FALSE(has_numbers_of(*parse_json(R"({"config_hash":"b"})", {}, problem), small_config()));
  EXPECT_FALSE(has_numbers_of(*parse_json("{}", {}, problem), small_config()));
}

TEST(HasNumbersOf, RunOfAnEarlierVersionGoesOn) {
  for (const char* tf32 : {"false", "true"}) {
    EXPECT_TRUE(has_numbers_of(record_of_earlier_version(tf32), small_config())) << tf32;
  }
  TrainConfig other = small_config();
  other.lora_r = 8;
  EXPECT_FALSE(has_numbers_of(record_of_earlier_version("true"), other));
}

TEST(ResolvedConfig, MarksDefaultsAndReadsBackAsTheSameConfig) {
  const LoadResult first = load_text(
      config_with("lora_r: 8\nmax_steps:\nweight_decay: 0.05\nblockml: {eos: never}\nskip_samples: ['a b:1', 12]\n"
                  "init_from: \"with space: and # hash\"\n"
                  "lint: {prose/thoughts: 'off', internal_hosts: ['a b.org'], usernames: lists/u.txt}\n"),
      {"lora_alpha=32", "datasets=[{path: d, rating: [pg13, unknown], tags_rating: {explicit: [nsfw, 'a: b']}}]",
       "blockml.length_buckets={nano: 5}", "blockml.default_length=auto", "blockml.length_unit=chars"});
  ASSERT_EQ(first.text(), "");
  const std::string text = resolved_config_text(first.loaded.stages[0]);
  EXPECT_NE(text.find("\nlora_r: 8\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nlora_alpha: 32                                # --set\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nseed: 42                                      # default\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nmax_steps: null                               # default (left empty)\n"), std::string::npos)
      << text;
  const LoadResult again = load_text(text);
  ASSERT_EQ(again.text(), "");
  EXPECT_EQ(canonical_config(again.config(), ConfigScope::kComplete),
            canonical_config(first.config(), ConfigScope::kComplete));
}

TEST(ResolvedConfig, LeavesOutKeysThatWouldBeRefused) {
  const LoadResult first = load_text(config_with("train_on_inputs: true\n"));
  const std::string text = resolved_config_text(first.loaded.stages[0]);
  EXPECT_NE(text.find("# roles_to_train has no effect under train_on_inputs: true\n"), std::string::npos) << text;
  EXPECT_EQ(load_text(text).text(), "");
}

TEST(ChosenSettings, AreThoseOfTheFileAndOfOptions) {
  const LoadResult loaded = load_text(config_with("train_on_inputs: true\nmax_steps:\nblockml: {eos: never}\n"
                                                  "init_from: \"default # of mine\"\n"),
                                      {"lora_alpha=32"});
  ASSERT_EQ(loaded.text(), "");
  std::map<std::string, std::string> chosen;
  for (const auto& [key, value] : chosen_settings(loaded.loaded.stages[0])) chosen[key] = value;
  EXPECT_EQ(chosen.at("train_on_inputs"), "true");
  EXPECT_EQ(chosen.at("blockml.eos"), "never");
  EXPECT_EQ(chosen.at("lora_alpha"), "32");
  EXPECT_TRUE(chosen.contains("output_dir") && chosen.contains("init_from"));
  for (const char* absent : {"seed", "max_steps", "datasets", "roles_to_train"})
    EXPECT_FALSE(chosen.contains(absent)) << absent;
}

TEST(HelpKeys, NamesEveryKeyWithDefaultAndClass) {
  const std::string text = help_keys_text();
  for (const char* part : {"\nlora_r: 20 ", "\nbase_model: (required) ", "\nmax_steps: (unset) ", "\nblockml.eos: end ",
                           "# numeric", "# output", "# place", "an integer in [1, 1024]", "a number in (0, 0.01]",
                           "one of constant, linear, cosine", "\nstages:"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const std::size_t group = text.find("\nAccepted, but decided by the program");
  ASSERT_NE(group, std::string::npos);
  for (const char* key : {"\noptimizer: ", "\nfp16: ", "\ntf32: ", "\neval_batch_size: "})
    EXPECT_GT(text.find(key), group);
}

TEST(HelpKeys, MarkdownHasOneRowPerKey) {
  const std::string text = help_keys_markdown();
  EXPECT_TRUE(text.starts_with("| key | default | class | values | meaning |\n|---|---|---|---|---|\n| `name` |"));
  EXPECT_NE(text.find("\n| `lora_r` | 20 | numeric | an integer in [1, 1024] | rank of the adapter |\n"),
            std::string::npos);
  EXPECT_NE(text.find("\n| `tf32` | false | output | true or false | decided by the program: "), std::string::npos);
  EXPECT_NE(text.find("off\\|info\\|warn\\|error"), std::string::npos) << "a bar inside a cell would end it";
  std::size_t rows = 0, begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) ++rows;
  JsonProblem problem;
  const auto keys = parse_json(canonical_config(TrainConfig{}, ConfigScope::kComplete), {}, problem);
  EXPECT_EQ(rows, keys->members.size() + 4)
      << "two lines of heading, `stages`, and `matmul`, whose default is not written";
}

}  // namespace
}  // namespace shori
