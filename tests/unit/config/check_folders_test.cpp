// Folders of a config that must not lie in one another, and paths with ~ and variables.
#include <cstdlib>

#include "shori/util/text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

// The problems of a config with these lines, which stands in a folder with model/, data/ and other/.
std::string folder_problems(const ConfigFolder& folder, const std::string& lines) {
  for (const char* name : {"model/config.json", "data/a.txt", "other/a.txt"}) folder.write(name, "x");
  Diagnostics diagnostics;
  LoadedConfig loaded = load_config(folder.write("c.yaml", "learning_rate: 1e-4\n" + lines), {}, diagnostics);
  find_base_models(loaded, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors()) << lines;
  check_folders(loaded, diagnostics);
  std::string text;
  for (const Diagnostic& problem : diagnostics.all()) text += problem.code + " " + problem.message + "\n";
  return text;
}

TEST(CheckFolders, EveryPairOfFolders) {
  const ConfigFolder folder;
  folder.write("run/model/config.json", "{}");
  folder.write("run/data/a.txt", "x");
  std::filesystem::create_directories(folder.path("data"));
  std::filesystem::create_directory_symlink("data", folder.path("link"));
  struct Case {
    const char *output, *data, *base, *problem;
  } cases[] = {
      {"run", "data", "model", ""},
      {"data", "data", "model", "`output_dir` lies in the data of `datasets`"},
      {"data/run", "data", "model", "`output_dir` lies in the data of `datasets`"},
      {"data/a/b", "./data/", "model", "`output_dir` lies in the data of `datasets`"},
      {"link/run", "data", "model", "`output_dir` lies in the data of `datasets`"},
      {"other/../data/run", "link", "model", "`output_dir` lies in the data of `datasets`"},
      {"data/run", "data/**/*.txt", "model", "`output_dir` lies in the data of `datasets`"},
      {"data/run", "data/*/*.jsonl", "model", "`output_dir` lies in the data of `datasets`"},
      {"data/run", "data/*.txt", "model", ""},
      {"data/run", "data/c*/*.txt", "model", ""},
      {"data/run", "data/a.txt", "model", ""},
      {"database", "data", "model", ""},
      {"run", "run/data", "model", "the data of `datasets` lie in `output_dir`"},
      {".", "data", "model", "the data of `datasets` lie in `output_dir`"},
      {"model/run", "data", "model", "`output_dir` lies in `base_model`"},
      {"model", "data", "model", "`output_dir` lies in `base_model`"},
      {"run", "data", "run/model", "`base_model` lies in `output_dir`"},
  };
  for (const Case& each : cases) {
    const std::string lines =
        concat("output_dir: ", each.output, "\nbase_model: ", each.base, "\ndatasets: [{path: '", each.data, "'}]\n");
    const std::string found = folder_problems(folder, lines);
    if (*each.problem == '\0') {
      EXPECT_EQ(found, "") << lines;
    } else {
      EXPECT_NE(found.find(std::string("E0107 ") + each.problem), std::string::npos) << lines << found;
    }
  }
}

TEST(CheckFolders, TestDataAndTheSourceOfARun) {
  const ConfigFolder folder;
  const std::string base = "base_model: model\ndatasets: [{path: data}]\n";
  EXPECT_NE(folder_problems(folder, base + "output_dir: other/run\ntest_datasets: [{path: other}]\n")
                .find("`output_dir` lies in the data of `test_datasets`"),
            std::string::npos);
  for (const char* source : {"run", "run/adapter", "./run/checkpoints/step-5"}) {
    EXPECT_NE(folder_problems(folder, concat(base, "output_dir: run\ninit_from: ", source, "\n"))
                  .find("`init_from` lies in `output_dir`"),
              std::string::npos)
        << source;
  }
  EXPECT_EQ(folder_problems(folder, base + "output_dir: run2\ninit_from: run\n"), "");
}

TEST(CheckFolders, StagesOfARecipe) {
  const ConfigFolder folder;
  const std::string found =
      folder_problems(folder,
                      "base_model: model\noutput_dir: data/runs\nstages:\n  - {name: a, datasets: [{path: other}]}\n"
                      "  - {name: b, datasets: [{path: data}]}\n");
  EXPECT_EQ(found, "E0107 `output_dir` lies in the data of `datasets`\n");
}

// Every key that holds a path, with each way to write one.
TEST(PathKeys, HomeAndVariablesInEveryOne) {
  setenv("HOME", "/people/aya", 1);
  setenv("SHORI_TEST_DIR", "/mnt/x", 1);
  struct Form {
    const char *written, *path, *why;
  };
  const Form forms[] = {
      {.written = "~/p", .path = "/people/aya/p", .why = "the home folder"},
      {.written = "$SHORI_TEST_DIR/p", .path = "/mnt/x/p", .why = "a variable"},
      {.written = "${SHORI_TEST_DIR}/p", .path = "/mnt/x/p", .why = "a variable in braces"},
  };
  for (const auto& [written, path, why] : forms) {
    const std::string p = written;
    const LoadResult result =
        load_text("learning_rate: 1e-4\nbase_model: " + p + "\noutput_dir: " + p + "\ndatasets: [{path: '" + p +
                  "'}]\n" + "test_datasets: [{path: '" + p + "'}]\ndataset_prepared_path: " + p + "\ninit_from: " + p +
                  "\nnf4_cache: " + p + "\nlint: {usernames: '" + p + "'}\nskip_samples: ['" + p + ":3']\n");
    ASSERT_EQ(result.text(), "") << why;
    const TrainConfig& c = result.config();
    EXPECT_EQ(c.base_model, path);
    EXPECT_EQ(c.output_dir, path);
    EXPECT_EQ(result.loaded.output_dir, path);
    EXPECT_EQ(c.datasets.at(0).resolved_path, path);
    EXPECT_EQ(c.test_datasets.at(0).resolved_path, path);
    EXPECT_EQ(c.dataset_prepared_path, path);
    EXPECT_EQ(c.init_from, path);
    EXPECT_EQ(c.nf4_cache, path);
    EXPECT_EQ(c.lint.resolved_usernames, path);
    EXPECT_EQ(c.skip_samples.at(0), std::string(path) + ":3");
  }
}

TEST(PathKeys, WhatCannotBeExpandedIsRefusedWhereItStands) {
  setenv("HOME", "/people/aya", 1);
  unsetenv("SHORI_TEST_UNSET");
  for (const char* line : {"init_from: ~/$SHORI_TEST_UNSET/x", "dataset_prepared_path: ~nobody-of-this-name/x",
                           "nf4_cache: ./~/x", "test_datasets: [{path: '${SHORI_TEST_UNSET}/x'}]"}) {
    const LoadResult result = load_text(config_with(std::string(line) + "\n"));
    ASSERT_EQ(result.codes(), "E0118") << line;
    EXPECT_EQ(result.problems[0].location.line, 5u) << line;
    EXPECT_NE(result.text().find("the path so far: "), std::string::npos);
  }
  EXPECT_EQ(load_text(config_with(""), {"output_dir=$SHORI_TEST_UNSET"}).codes(), "E0118");
  EXPECT_EQ(load_text(config_with(""), {"output_dir=~/runs"}).config().output_dir, "/people/aya/runs");
}

}  // namespace
}  // namespace shori
