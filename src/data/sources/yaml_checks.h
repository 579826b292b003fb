// What the readers of a YAML conversation share: problems located at its nodes, and the checks of single values.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/yaml.h"

namespace shori {

// Collects the problems of one conversation. Each check reports E0312 where it fails.
class YamlChecks {
 public:
  // `first_line`: that of the conversation in its file.
  YamlChecks(const YamlDocument& yaml, std::size_t first_line) : yaml_(yaml), first_line_(first_line) {}

  SourceLocation location_of(const YamlNode& node) const;
  const std::string& file() const { return yaml_.file; }

  // Adds a problem. The reference is valid until the next one.
  Diagnostic& problem(std::string_view code, const YamlNode& node, std::string message);
  bool has_problem() const { return !problems_.empty(); }
  void move_to(Diagnostics& diagnostics);

  void check_keys(const YamlNode& mapping, std::span<const std::string_view> keys, const std::string& what);
  bool is_text(const YamlNode& node, const std::string& key);
  // A text that is not empty, trimmed; "" after a problem.
  std::string name(const YamlNode& node, const std::string& key);
  // One of `words`; "" after a problem.
  std::string word(const YamlNode& node, const std::string& key, std::span<const std::string_view> words);

 private:
  const YamlDocument& yaml_;
  std::size_t first_line_;
  std::vector<Diagnostic> problems_;
};

}  // namespace shori
