// Misspelt keys: the proposal must be the key that was meant.
#include <map>
#include <set>

#include "shori/config/config_text.h"
#include "shori/util/json.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

// The top-level keys, from the canonical form of a config.
std::vector<std::string> top_level_keys() {
  JsonProblem problem;
  const auto object = parse_json(canonical_config(TrainConfig{}, ConfigScope::kComplete), {}, problem);
  std::vector<std::string> keys;
  for (const auto& member : object->members) {
    if (member.first.find('.') == std::string::npos) keys.push_back(member.first);
  }
  return keys;
}

// Mistakes at every third letter, from `first` on.
std::set<std::string> misspellings(const std::string& key, std::size_t first) {
  std::set<std::string> names;
  for (std::size_t i = first; i < key.size(); i += 3) {
    names.insert(key.substr(0, i) + key.substr(i + 1));
    names.insert(key.substr(0, i) + "x" + key.substr(i + 1));
    names.insert(key.substr(0, i) + "q" + key.substr(i));
    if (i + 1 < key.size()) names.insert(key.substr(0, i) + key[i + 1] + key[i] + key.substr(i + 2));
    std::string upper = key;
    upper[i] = static_cast<char>(std::toupper(static_cast<unsigned char>(upper[i])));
    names.insert(upper);
  }
  std::string dashes = key;
  std::replace(dashes.begin(), dashes.end(), '_', '-');
  names.insert(dashes);
  names.erase(key);
  names.erase("");
  return names;
}

// The keys that a file of misspelt keys gets as proposals, by the misspelt name.
std::map<std::string, std::string> proposals(const std::set<std::string>& names) {
  std::map<std::string, std::string> found;
  for (const std::string& name : names) {
    const LoadResult result = load_text("\"" + name + "\": null\n");
    for (const Diagnostic& problem : result.problems) {
      const std::string start = "a key with a similar name exists: `";
      if (problem.code != "E0101" || problem.helps.empty() || !problem.helps[0].starts_with(start)) continue;
      found[name] = problem.helps[0].substr(start.size(), problem.helps[0].size() - start.size() - 1);
    }
  }
  return found;
}

TEST(KeyNames, MisspeltKeysAreFound) {
  const std::vector<std::string> keys = top_level_keys();
  ASSERT_GT(keys.size(), 50u);
  std::size_t total = 0, right = 0;
  std::string wrong;
  for (const std::string& key : keys) {
    std::set<std::string> names = misspellings(key, key.size() % 3);
    for (const std::string& other : keys) names.erase(other);
    const auto found = proposals(names);
    for (const std::string& name : names) {
      const auto proposal = found.find(name);
      const bool good = proposal != found.end() && proposal->second == key;
      ++total;
      right += good;
      if (!good) wrong += name + " -> " + (proposal == found.end() ? "nothing" : proposal->second) + "\n";
    }
  }
  EXPECT_GE(static_cast<double>(right), 0.98 * static_cast<double>(total)) << right << " of " << total << "\n" << wrong;
}

TEST(KeyNames, NothingIsProposedForAStrangeName) {
  const LoadResult result = load_text(config_with("zzzzzzzz: 1\n"));
  ASSERT_EQ(result.codes(), "E0101");
  EXPECT_TRUE(result.problems[0].helps.empty());
}

}  // namespace
}  // namespace shori
