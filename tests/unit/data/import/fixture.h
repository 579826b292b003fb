// Importing small files and looking at what came of them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
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

  // The names of the output folder, as they are.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    if (!std::filesystem::exists(folder.file("out"))) return names;
    for (const auto& item : std::filesystem::directory_iterator(folder.file("out")))
      names.push_back(item.path().filename().string());
    return names;
  }
  // Every file of the output folder, without keys where their names differ without them too.
  std::map<std::string, std::string> made() const {
    static const std::regex key("-[0-9a-z]{12}[.]");
    std::map<std::string, std::string> files;
    for (const std::string& name : names()) {
      const std::string short_name = std::regex_replace(name, key, ".");
      files[files.contains(short_name) ? name : short_name] = folder.read("out/" + name);
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
