// How `check` shows what it finds: problems of one kind in one file joined, errors last, a verdict at the end.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "shori/util/error.h"
#include "src/cli/choice.h"

namespace shori {

enum class CheckFormat { kShort, kLong, kJson };
template <>
inline constexpr auto kWords<CheckFormat> = word_list("short", "long", "json");

// As JSON each problem is one line of stdout as it comes. As text they go to stderr with print().
class CheckPrinter {
 public:
  explicit CheckPrinter(CheckFormat format) : format_(format) {}

  void add(const Diagnostic& problem);
  // Errors that are only counted, as there are so many.
  void add_unlisted_errors(std::size_t count);
  // What was added since the last call: infos, then warnings, then errors.
  void print();
  // On stdout: how often each rule found something, and whether the data can be trained.
  void print_verdict() const;

 private:
  // Findings of one rule in one file; or one problem.
  struct Group {
    Diagnostic first;
    std::size_t blocks = 1;
    std::vector<std::string> subjects;
    std::vector<std::size_t> lines;  // of the others, where they have one
  };
  struct RuleCount {
    std::size_t blocks = 0, shown = 0;
    std::set<std::string> files;
  };

  void print(const Group& group);
  std::size_t count(Severity severity) const { return counts_[static_cast<std::size_t>(severity)]; }

  CheckFormat format_;
  std::vector<Group> groups_;
  std::map<std::tuple<std::string, std::string, Severity>, std::size_t> group_of_;  // file, rule, severity
  std::map<std::string, RuleCount> rules_;
  std::array<std::size_t, 3> counts_{};
  std::size_t unlisted_ = 0;  // of the errors since the last print()
};

}  // namespace shori
