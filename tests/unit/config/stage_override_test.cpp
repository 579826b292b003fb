// `--set STAGE.key=value`, and the stages that categories of one's own make.
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

constexpr const char* kRecipe =
    "base_model: m\noutput_dir: runs/shori\nsequence_len: 512\n"
    "stages:\n"
    "  - name: low\n    learning_rate: 7.25e-5\n    datasets: [{path: low/}]\n"
    "  - name: v1.5 best\n    learning_rate: 5.5e-5\n    datasets: [{path: best/}]\n    sequence_len: 256\n";

std::string recipe_of(const std::string& rates, const std::vector<std::string>& categories, const std::string& more) {
  std::string text = "base_model: m\noutput_dir: runs/shori\nlearning_rate: " + rates + "\n" + more + "datasets:\n";
  for (const std::string& category : categories) text += "  - {path: " + category + "/, category: " + category + "}\n";
  return text;
}

std::string all_notes(const LoadResult& result) {
  std::string text;
  for (const std::string& note : result.loaded.notes) text += note + "\n";
  return text;
}

std::string stages_of(const LoadResult& result) {
  std::string names;
  for (const StageConfig& stage : result.loaded.stages) names += (names.empty() ? "" : " ") + stage.name;
  return names;
}

TEST(StageOverride, ReplacesAKeyOfOneStage) {
  const LoadResult result =
      load_text(kRecipe, {"low.learning_rate=1e-4", "v1.5 best.sequence_len=128", "low.blockml.eos=never"});
  ASSERT_EQ(result.text(), "");
  const TrainConfig &low = result.loaded.stages[0].config, &best = result.loaded.stages[1].config;
  EXPECT_EQ(low.learning_rate, 1e-4);
  EXPECT_EQ(low.blockml.eos, EosRule::kNever);
  EXPECT_EQ(low.sequence_len, 512);
  EXPECT_EQ(best.sequence_len, 128);
  EXPECT_EQ(best.learning_rate, 5.5e-5);
  EXPECT_EQ(best.blockml.eos, EosRule::kEnd);
  EXPECT_EQ(result.loaded.stages[0].origin("learning_rate").kind, ValueOrigin::Kind::kSet);
}

TEST(StageOverride, OfCategoriesAndOfASingleStage) {
  const LoadResult arrow = load_text(recipe_of("7e-5 -> 6e-5", {"low", "mid"}, ""), {"mid.learning_rate=1e-5"});
  ASSERT_EQ(arrow.text(), "");
  EXPECT_EQ(arrow.loaded.stages[0].config.learning_rate, 7e-5);
  EXPECT_EQ(arrow.loaded.stages[1].config.learning_rate, 1e-5);
  const LoadResult single = load_text(config_with(""), {"x.lora_r=4"});
  ASSERT_EQ(single.text(), "");
  EXPECT_EQ(single.config().lora_r, 4);
}

TEST(StageOverride, Mistakes) {
  const LoadResult unknown = load_text(kRecipe, {"lwo.learning_rate=1e-4"});
  EXPECT_EQ(unknown.codes(), "E0117");
  EXPECT_NE(unknown.text().find("`--set low.learning_rate=1e-4`"), std::string::npos) << unknown.text();
  EXPECT_EQ(load_text(kRecipe, {"low.lerning_rate=1e-4"}).codes(), "E0101");
  EXPECT_EQ(load_text(kRecipe, {"low.learning_rate=fast"}).codes(), "E0104");
  EXPECT_EQ(load_text(kRecipe, {"low.output_dir=x"}).codes().substr(0, 5), "E0107");
  EXPECT_EQ(load_text(kRecipe, {"v1.5 best.init_from=x"}).codes(), "E0107");
  EXPECT_EQ(load_text(kRecipe, {"low.lora_r=4", "low.lora_r=5"}).codes(), "E0102");
  EXPECT_EQ(load_text(kRecipe, {"low .lora_r=4"}).codes(), "E0117");
  EXPECT_EQ(load_text(kRecipe, {"lora_r =4"}).codes(), "E0113");
  const LoadResult shared = load_text(kRecipe, {"sequence_len=128"});
  EXPECT_EQ(shared.codes(), "E0107");
  EXPECT_NE(shared.text().find("`--set v1.5 best.sequence_len=...`"), std::string::npos) << shared.text();
}

TEST(StageOverride, ItsTextsAreKept) {
  const std::vector<std::string> overrides = {"low.learning_rate=1e-4", "lora_r=4"};
  EXPECT_EQ(load_text(kRecipe, overrides).loaded.overrides, overrides);
}

TEST(Categories, OfOnesOwnAreStagesInTheOrderOfTheirFirstUse) {
  const LoadResult own = load_text(recipe_of("3e-5 -> 2e-5 -> 1e-5", {"forum", "books", "forum", "best"}, ""));
  ASSERT_EQ(own.text(), "");
  EXPECT_EQ(stages_of(own), "forum books best");
  EXPECT_EQ(own.config().datasets.size(), 2u);
  EXPECT_NE(all_notes(own).find("forum, books, best"), std::string::npos) << all_notes(own);
  // The published ones keep their order, wherever they stand.
  EXPECT_EQ(stages_of(load_text(recipe_of("3e-5 -> 2e-5", {"high", "low"}, ""))), "low high");
  EXPECT_EQ(stages_of(load_text(recipe_of("3e-5 -> 2e-5", {"high", "books"}, ""))), "high books");
}

TEST(Categories, CategoryOrderDecides) {
  const auto order = [](const std::string& list) { return "category_order: " + list + "\n"; };
  const LoadResult result = load_text(recipe_of("3e-5 -> 2e-5", {"high", "books", "low"}, order("[books, low, high]")));
  ASSERT_EQ(result.text(), "");
  EXPECT_EQ(stages_of(result), "books low high");
  for (const char* wrong : {"[books, low]", "[books, low, high, top]"}) {
    EXPECT_EQ(load_text(recipe_of("3e-5", {"high", "books", "low"}, order(wrong))).codes(), "E0107") << wrong;
    EXPECT_EQ(load_text(recipe_of("3e-5 -> 2e-5", {"high", "books", "low"}, order(wrong))).codes(), "E0107") << wrong;
  }
  EXPECT_TRUE(load_text(recipe_of("3e-5", {"high", "books", "low"}, order("[books, low, high, low]")))
                  .codes()
                  .starts_with("E0107"));
  EXPECT_EQ(load_text(recipe_of("3e-5 -> 2e-5", {"high", "books", "low"}, order("[books, low, high, low]"))).codes(),
            "E0107")
      << "one mistake is reported once";
  EXPECT_EQ(load_text(config_with(order("[low]"))).codes(), "E0107");
}

TEST(Categories, AMisspeltOneIsNoNameOfItsOwn) {
  for (const char* name : {"hihg", "High", "LOW", "topp", "top_pg13"}) {
    const LoadResult result = load_text(recipe_of("3e-5 -> 2e-5", {name, "mid"}, ""));
    EXPECT_EQ(result.codes().substr(0, 5), "E0104") << name;
  }
  for (const char* name : {"a/b", "..", ".hidden"}) {
    EXPECT_EQ(load_text(recipe_of("3e-5 -> 2e-5", {name, "mid"}, "")).codes().substr(0, 5), "E0104") << name;
  }
}

TEST(Categories, FewerRatesThanCategoriesIsSaid) {
  const LoadResult result = load_text(recipe_of("3e-5 -> 2e-5", {"low", "mid", "high"}, ""));
  ASSERT_EQ(result.text(), "");
  const std::string note = all_notes(result);
  EXPECT_NE(
      note.find("c.yaml:3: `learning_rate` has 2 rates for 3 categories: the last, 2e-5, is the rate of mid, high"),
      std::string::npos)
      << note;
  const std::string none = all_notes(load_text(recipe_of("3e-5 -> 2e-5", {"low", "mid"}, "")));
  EXPECT_EQ(none.find("categories"), std::string::npos) << none;
}

}  // namespace
}  // namespace shori
