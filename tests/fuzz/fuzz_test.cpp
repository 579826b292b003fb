// Replays the seeds of every fuzz target, whole, cut short, and with bytes changed.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_targets.h"
#include "tests/support/environment.h"

namespace shori {
namespace {

struct Target {
  const char* name;
  void (*run)(std::string_view);
};

class Fuzz : public testing::TestWithParam<Target> {
 protected:
  static std::vector<std::string> seeds(const std::string& name) {
    std::vector<std::filesystem::path> paths;
    const std::filesystem::path folder =
        std::filesystem::path(required_variable("SHORI_TEST_DATA")) / "fuzz/corpus" / name;
    for (const auto& item : std::filesystem::directory_iterator(folder)) paths.push_back(item.path());
    std::sort(paths.begin(), paths.end());
    std::vector<std::string> contents;
    for (const auto& path : paths) {
      std::ifstream file(path, std::ios::binary);
      contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return contents;
  }
};

TEST_P(Fuzz, SeedsKeepEveryPromise) {
  const std::vector<std::string> all = seeds(GetParam().name);
  ASSERT_FALSE(all.empty());
  for (const std::string& seed : all) EXPECT_NO_THROW(GetParam().run(seed)) << seed;
}

// Tokens of the formats, so that a change is more than a broken byte.
TEST_P(Fuzz, ChangedSeedsKeepEveryPromise) {
  static const std::vector<std::string> kTokens = {
      "▀",   "▄",    "[INST]",   "[/INST]", "▀message\n", " (length: tiny)",
      "<s>", "\"",   "\\",       "{",       "}",          "[",
      "]",   ",",    ":",        "\n",      "\r",         "\t",
      "\0",  "\xFF", "\xE2\x96", "\\ud800", "(OOC:",      ")",
      "- ",  "  ",   "&a",       "*a",      "|",          "1e9"};
  std::mt19937 random(5);
  for (const std::string& seed : seeds(GetParam().name)) {
    for (int i = 0; i < 1000; ++i) {
      std::string changed = seed;
      for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
        const std::size_t at = random() % (changed.size() + 1), span = random() % 8;
        const std::string& token = kTokens[random() % kTokens.size()];
        if (random() % 8 == 0)
          changed.resize(at);
        else
          changed.replace(at, random() % 2 == 0 ? std::min(span, changed.size() - at) : 0, token);
      }
      EXPECT_NO_THROW(GetParam().run(changed)) << changed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz,
                         testing::Values(Target{"blockml", fuzz::blockml}, Target{"jsonl", fuzz::jsonl},
                                         Target{"import", fuzz::import}, Target{"yaml", fuzz::yaml}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace shori
