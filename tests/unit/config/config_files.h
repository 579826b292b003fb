// A folder of config files for one test, and short ways to load them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "shori/config/load_config.h"

namespace shori {

// Removed with everything in it when the test ends.
class ConfigFolder {
 public:
  ConfigFolder() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string("shori_config_") + info->test_suite_name() + "_" + info->name();
    std::replace(name.begin(), name.end(), '/', '_');
    path_ = std::filesystem::path(testing::TempDir()) / name;
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ConfigFolder() { std::filesystem::remove_all(path_); }
  ConfigFolder(const ConfigFolder&) = delete;
  ConfigFolder& operator=(const ConfigFolder&) = delete;

  std::string path(const std::string& name) const { return (path_ / name).string(); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

// The four keys that every config needs, and then `more`.
inline std::string config_with(const std::string& more) {
  return "base_model: m\noutput_dir: runs/x\nlearning_rate: 1e-4\ndatasets: [{path: d.txt}]\n" + more;
}

struct LoadResult {
  LoadedConfig loaded;
  std::vector<Diagnostic> problems;

  // Codes in order, joined by spaces.
  std::string codes() const {
    std::string text;
    for (const Diagnostic& problem : problems) text += (text.empty() ? "" : " ") + problem.code;
    return text;
  }
  // All messages as they are printed.
  std::string text() const {
    std::string all;
    for (const Diagnostic& problem : problems) all += format_diagnostic(problem);
    return all;
  }
  const TrainConfig& config() const { return loaded.stages.at(0).config; }
};

inline LoadResult load_text(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const ConfigFolder folder;
  Diagnostics diagnostics;
  LoadResult result;
  result.loaded = load_config(folder.write("c.yaml", text), overrides, diagnostics);
  result.problems = diagnostics.all();
  return result;
}

}  // namespace shori
