// Strict YAML: one document, a mapping at the top; no anchors, aliases, tags, merge keys, duplicate keys. Built from
// yaml-cpp's events with our own tree, so there is no cycle, no first-wins lookup and no recursion on hostile input.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/util/error.h"

namespace shori {

struct YamlLimits {
  std::size_t bytes = 1u << 20;
  int depth = 8;
  std::size_t keys = 1000;
  std::size_t scalar_bytes = 64u << 10;
  std::size_t nodes = 500'000;  // values, lists and mappings: bounds the memory of the tree
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  // Defined where the type is complete: its members are containers of itself.
  YamlNode();
  YamlNode(const YamlNode& other);
  YamlNode(YamlNode&& other) noexcept;
  YamlNode& operator=(const YamlNode& other);
  YamlNode& operator=(YamlNode&& other) noexcept;
  ~YamlNode();

  Kind kind = Kind::kNull;
  bool quoted = false;  // scalar in '…', "…", | or >
  std::string text;
  std::vector<YamlNode> items;
  std::vector<std::pair<YamlNode, YamlNode>> members;  // key nodes are plain or quoted scalars, file order
  std::size_t line = 0, column = 0;                    // 1-based; a null carries its key's place
  const YamlNode* find(std::string_view key) const;
};

// A YAML text with its lines, so that diagnostics can show them.
struct YamlDocument {
  std::string file;  // as shown in messages
  std::string text;
  YamlNode root;
  // Place of a node, with the source line; the caret covers `text` if it stands at that place.
  SourceLocation place(const YamlNode& node) const;
};

// Problems go to `diagnostics` (E0102 duplicate key, E0105 tab, E0109, E0111); nullopt if the text cannot be used.
std::optional<YamlDocument> parse_yaml(std::string file, std::string text, const YamlLimits& limits,
                                       Diagnostics& diagnostics);

// Own scalar grammar on plain scalars (locale-free). On failure returns nullopt and, in `code` and `reason`, why: E0103
// range of the type, E0104 wrong form (quoted, decimal comma, `16k`, `yes`), E0106 ambiguous (`010`, `0x10`, `1_000`,
// `1:30`), E0110 not finite.
struct ScalarProblem {
  std::string code, message, help;
};
std::optional<long long> parse_yaml_integer(const YamlNode& node, ScalarProblem& problem);
std::optional<double> parse_yaml_float(const YamlNode& node, ScalarProblem& problem);
std::optional<bool> parse_yaml_bool(const YamlNode& node, ScalarProblem& problem);

}  // namespace shori
