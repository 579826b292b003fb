// Importing small files and looking at what came of them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "shori/data/import.h"
#include "tests/support/temporary_folder.h"

namespace shori::test {

struct Problem {
  std::string code;
  std::size_t line, column;
  bool operator==(const Problem&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const Problem& problem) {
  return out << problem.code << '@' << problem.line << ':' << problem.column;
}

class ImportTest : public testing::Test {
 protected:
  // Imports one file `name` of that content, or whole folders if inputs are set.
  ImportReport import(ImportSource source, const std::string& name, const std::string& content) {
    options.source = source;
    options.inputs = {folder.write("in/" + name, content)};
    return import_inputs();
  }
  ImportReport import_inputs() {
    options.out = folder.file("out");
    Diagnostics diagnostics;
    ImportReport report = import_files(options, diagnostics);
    problems = diagnostics.all();
    return report;
  }

  std::vector<Problem> codes_and_positions() const {
    std::vector<Problem> result;
    for (const Diagnostic& problem : problems)
      result.push_back({problem.code, problem.location.line, problem.location.column});
    return result;
  }
  std::string formatted() const {
    std::string text;
    for (const Diagnostic& problem : problems) text += format_diagnostic(problem);
    return text;
  }

  // Every file of the output folder.
  std::map<std::string, std::string> made() const {
    std::map<std::string, std::string> files;
    if (!std::filesystem::exists(folder.file("out"))) return files;
    for (const auto& item : std::filesystem::directory_iterator(folder.file("out"))) {
      const std::string name = item.path().filename().string();
      files[name] = folder.read("out/" + name);
    }
    return files;
  }
  // The one file of an import without problems.
  std::string only_made() const {
    EXPECT_TRUE(problems.empty()) << formatted();
    const auto files = made();
    EXPECT_EQ(files.size(), 1u);
    return files.empty() ? std::string() : files.begin()->second;
  }

  using Changes = std::map<std::string, std::uint64_t, std::less<>>;
  TemporaryFolder folder;
  ImportOptions options;
  std::vector<Diagnostic> problems;
};

}  // namespace shori::test
