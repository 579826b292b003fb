#include "shori/config/config_text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

constexpr const char* kRecipe =
    "base_model: m\noutput_dir: runs/shori\nsequence_len: 512\nweight_decay: 0.05\n"
    "stages:\n"
    "  - name: low\n    learning_rate: 7.25e-5\n    datasets: [{path: low/, category: low}]\n"
    "  - name: mid\n    learning_rate: 5.5e-5\n    datasets: [{path: mid/}]\n    sequence_len: 256\n";

std::string arrow_recipe(const std::string& rates, const std::string& categories) {
  std::string text = "base_model: m\noutput_dir: runs/shori\nlearning_rate: " + rates + "\ndatasets:\n";
  for (std::size_t begin = 0; begin < categories.size();) {
    const std::size_t end = std::min(categories.find(' ', begin), categories.size());
    const std::string category = categories.substr(begin, end - begin);
    text += "  - {path: " + category + "/" + (category == "none" ? "" : ", category: " + category) + "}\n";
    begin = end + 1;
  }
  return text;
}

TEST(Recipe, StagesTakeSharedKeysAndTheirOwn) {
  const LoadResult result = load_text(kRecipe);
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.stages.size(), 2u);
  const StageConfig& low = result.loaded.stages[0];
  const StageConfig& mid = result.loaded.stages[1];
  EXPECT_TRUE(result.loaded.is_recipe);
  EXPECT_EQ(result.loaded.name, "shori");
  EXPECT_EQ(low.name, "low");
  EXPECT_EQ(low.config.sequence_len, 512);
  EXPECT_EQ(mid.config.sequence_len, 256);
  EXPECT_EQ(mid.config.weight_decay, 0.05);
  EXPECT_EQ(mid.config.learning_rate, 5.5e-5);
  EXPECT_EQ(low.previous_stage, -1);
  EXPECT_EQ(mid.previous_stage, 0);
  EXPECT_EQ(mid.config.output_dir, result.loaded.output_dir + "/mid");
  EXPECT_EQ(mid.origin("sequence_len").kind, ValueOrigin::Kind::kStage);
  EXPECT_EQ(mid.origin("weight_decay").kind, ValueOrigin::Kind::kFile);
}

TEST(Recipe, InitFromStartsTheChainOnly) {
  const LoadResult shared = load_text(std::string("init_from: /a\n") + kRecipe);
  ASSERT_EQ(shared.text(), "");
  EXPECT_EQ(shared.loaded.stages[0].config.init_from, "/a");
  EXPECT_EQ(shared.loaded.stages[1].config.init_from, "");
  const LoadResult later = load_text(std::string(kRecipe) + "    init_from: /a\n");
  EXPECT_EQ(later.codes(), "E0107") << later.text();
}

TEST(Recipe, SharedCarryConcernsTheLinksOfTheChain) {
  const LoadResult result = load_text(std::string("optimizer_state: carry\n") + kRecipe);
  ASSERT_EQ(result.text(), "");
  EXPECT_EQ(result.loaded.stages[0].config.optimizer_state, OptimizerStart::kFresh);
  EXPECT_EQ(result.loaded.stages[1].config.optimizer_state, OptimizerStart::kCarry);
}

TEST(Recipe, MistakesOfStages) {
  EXPECT_EQ(load_text(std::string(kRecipe) + "    output_dir: x\n").codes(), "E0107");
  EXPECT_EQ(load_text(std::string(kRecipe) + "    stages: []\n").codes(), "E0107");
  EXPECT_EQ(load_text(std::string(kRecipe) + "    lora_rr: 3\n").codes(), "E0101");
  EXPECT_EQ(
      load_text(std::string(kRecipe) + "  - name: mid\n    learning_rate: 1e-5\n    datasets: [{path: a}]\n").codes(),
      "E0107");
  EXPECT_EQ(load_text(std::string(kRecipe) + "  - learning_rate: 1e-5\n    datasets: [{path: a}]\n").codes(), "E0114");
  EXPECT_EQ(load_text(std::string(kRecipe) + "  - 5\n").codes(), "E0104");
  EXPECT_EQ(load_text(std::string("learning_rate: 1e-5 -> 2e-5\n") + kRecipe).codes(), "E0107");
  EXPECT_EQ(load_text(config_with("stages: []\n")).codes(), "E0104");
  EXPECT_EQ(load_text(config_with("stages: low\n")).codes(), "E0104");
  const LoadResult missing = load_text(std::string(kRecipe) + "  - name: high\n    datasets: [{path: a}]\n");
  EXPECT_EQ(missing.codes(), "E0114");
  EXPECT_NE(missing.text().find("required key `learning_rate` of stage `high` is missing"), std::string::npos);
  EXPECT_EQ(missing.problems.at(0).location.line, 13u);
}

TEST(Recipe, AnErrorInASharedKeyIsReportedOnce) {
  EXPECT_EQ(load_text(std::string("lora_r: x\n") + kRecipe).codes(), "E0104");
}

TEST(Recipe, ArrowMakesStagesOfTheCategoriesPresent) {
  const LoadResult result = load_text(arrow_recipe("7.25e-5->5.5e-5", "high top-pg13 low high"));
  ASSERT_EQ(result.text(), "");
  ASSERT_EQ(result.loaded.stages.size(), 3u);
  EXPECT_EQ(result.loaded.stages[0].name, "low");
  EXPECT_EQ(result.loaded.stages[1].name, "high");
  EXPECT_EQ(result.loaded.stages[2].name, "top-pg13");
  EXPECT_EQ(result.loaded.stages[1].config.datasets.size(), 2u);
  EXPECT_EQ(result.loaded.stages[0].config.learning_rate, 7.25e-5);
  EXPECT_EQ(result.loaded.stages[1].config.learning_rate, 5.5e-5);
  EXPECT_EQ(result.loaded.stages[2].config.learning_rate, 5.5e-5);
}

TEST(Recipe, ArrowMayBeQuotedAsAWhole) {
  const LoadResult result = load_text(arrow_recipe("\"7e-5 -> 6e-5\"", "low mid"));
  ASSERT_EQ(result.codes(), "");
  ASSERT_EQ(result.loaded.stages.size(), 2u);
  EXPECT_EQ(result.loaded.stages[1].config.learning_rate, 6e-5);
}

TEST(Recipe, ArrowMistakes) {
  const LoadResult many = load_text(arrow_recipe("7e-5 -> 6e-5 -> 5e-5", "low mid"));
  ASSERT_EQ(many.codes(), "E0107") << many.text();
  EXPECT_NE(many.text().find("rates: 7e-5, 6e-5, 5e-5"), std::string::npos) << many.text();
  EXPECT_NE(many.text().find("categories of `datasets`: low, mid"), std::string::npos) << many.text();
  EXPECT_EQ(load_text(arrow_recipe("7e-5 -> 6e-5", "low mid none")).codes(), "E0107");
  EXPECT_EQ(load_text(arrow_recipe("7e-5 -> ", "low mid")).codes(), "E0104");
  const LoadResult wrong = load_text(arrow_recipe("7e-5 -> 6e5", "low mid"));
  ASSERT_EQ(wrong.codes(), "E0103") << wrong.text();
  EXPECT_EQ(wrong.problems[0].location.line, 3u);
  EXPECT_EQ(wrong.problems[0].location.column, 24u);
}

TEST(Recipe, PlainRateIsOneStageWhateverTheCategories) {
  const LoadResult result = load_text(arrow_recipe("7e-5", "low mid"));
  ASSERT_EQ(result.text(), "");
  EXPECT_FALSE(result.loaded.is_recipe);
  EXPECT_EQ(result.loaded.stages.size(), 1u);
  EXPECT_EQ(result.config().datasets.size(), 2u);
}

TEST(Override, ReplacesAKeyOfTheFile) {
  const LoadResult result = load_text(
      config_with("lora_r: 8\nblockml: {eos: end}\n"),
      {"lora_r=4", "blockml.eos=never", "datasets=[{path: e.txt}, {path: f.txt}]", "name=some run", "max_steps="});
  ASSERT_EQ(result.text(), "");
  EXPECT_EQ(result.config().lora_r, 4);
  EXPECT_EQ(result.config().blockml.eos, EosRule::kNever);
  EXPECT_EQ(result.config().datasets.size(), 2u);
  EXPECT_EQ(result.loaded.name, "some run");
  EXPECT_EQ(result.loaded.stages[0].origin("lora_r").kind, ValueOrigin::Kind::kSet);
  EXPECT_EQ(result.loaded.stages[0].origin("max_steps").kind, ValueOrigin::Kind::kLeftEmpty);
}

TEST(Override, Mistakes) {
  const std::string plain = config_with("");
  const LoadResult colon = load_text(plain, {"learning_rate:5e-5"});
  EXPECT_EQ(colon.codes(), "E0113");
  EXPECT_NE(colon.text().find("`--set learning_rate=5e-5`"), std::string::npos) << colon.text();
  EXPECT_EQ(load_text(plain, {"=5"}).codes(), "E0113");
  EXPECT_EQ(load_text(plain, {"lora_r=5 # five"}).codes(), "E0113");
  EXPECT_EQ(load_text(plain, {"lora_r=5\nlora_alpha: 3"}).codes(), "E0113");
  EXPECT_EQ(load_text(plain, {"stages=[]"}).codes(), "E0113");
  EXPECT_EQ(load_text(plain, {"lora_rr=5"}).codes(), "E0101");
  EXPECT_EQ(load_text(plain, {"lora_r=x"}).codes(), "E0104");
  EXPECT_EQ(load_text(plain, {"lora_r=4", "lora_r=5"}).codes(), "E0102");
}

TEST(Override, InARecipeSetsTheSharedKey) {
  const LoadResult shared = load_text(kRecipe, {"weight_decay=0.1", "output_dir=/o"});
  ASSERT_EQ(shared.text(), "");
  EXPECT_EQ(shared.loaded.stages[1].config.weight_decay, 0.1);
  EXPECT_EQ(shared.loaded.stages[1].config.output_dir, "/o/mid");
  const LoadResult own = load_text(kRecipe, {"sequence_len=128"});
  ASSERT_EQ(own.codes(), "E0107");
  EXPECT_EQ(own.problems[0].location.line, 12u);
}

TEST(Override, OfArrowRates) {
  const std::string recipe = arrow_recipe("7e-5 -> 6e-5", "low mid");
  const LoadResult arrow = load_text(recipe, {"learning_rate=1e-5 -> 2e-5"});
  ASSERT_EQ(arrow.text(), "");
  EXPECT_EQ(arrow.loaded.stages[1].config.learning_rate, 2e-5);
  const LoadResult plain = load_text(recipe, {"learning_rate=1e-5"});
  EXPECT_EQ(plain.codes(), "E0107");
  EXPECT_NE(plain.text().find("1e-5 -> 1e-5"), std::string::npos);
}

TEST(Recipe, ItsStagesAndSingleFilesHaveOneHash) {
  const LoadResult recipe = load_text(kRecipe);
  const LoadResult low = load_text(
      "base_model: ../models/m\noutput_dir: elsewhere/low\nname: low\nsequence_len: 512\nweight_decay: 0.05\n"
      "learning_rate: 0.0000725\ndatasets: [{path: ../data/low/}]\ndevice: cpu\nsave_total_limit: 5\n");
  const LoadResult mid = load_text(
      "base_model: m\noutput_dir: mid\nsequence_len: 256\nweight_decay: 5e-2\ninit_from: elsewhere/low\n"
      "learning_rate: 5.5e-5\ndatasets: [{path: mid/, category: mid}]\n");
  const LoadResult arrow =
      load_text(arrow_recipe("7.25e-5 -> 5.5e-5", "low mid") + "weight_decay: 0.05\nsequence_len: 512\n");
  ASSERT_EQ(low.text() + mid.text() + arrow.text(), "");
  const std::string low_hash = config_hash(recipe.loaded.stages[0].config);
  EXPECT_EQ(low_hash, config_hash(low.config()));
  EXPECT_EQ(low_hash, config_hash(arrow.config()));
  EXPECT_EQ(config_hash(recipe.loaded.stages[1].config), config_hash(mid.config()));
  EXPECT_NE(low_hash, config_hash(mid.config()));
}

}  // namespace
}  // namespace shori
