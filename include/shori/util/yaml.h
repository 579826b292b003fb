// Strict YAML: one document with a mapping at the top; no anchors, aliases, tags, merge keys or duplicate keys. The
// tree is our own, built from yaml-cpp's events: it has no cycles, no silent choice between equal keys, and hostile
// input causes no recursion.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/util/error.h"

namespace shori {

// U+00A0 looks like a space in an editor, but YAML takes it for a letter.
inline constexpr std::string_view kNoBreakSpace = "\xc2\xa0";

struct YamlLimits {
  std::size_t bytes = 1u << 20;
  int depth = 8;
  std::size_t keys = 1000;
  std::size_t scalar_bytes = 64u << 10;
  std::size_t nodes = 500'000;  // values, lists and mappings; bounds the memory of the tree
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
  std::vector<std::pair<YamlNode, YamlNode>> members;  // in file order; keys are plain or quoted scalars
  std::size_t line = 0, column = 0;                    // 1-based; a null has the position of its key
  const YamlNode* find(std::string_view key) const;
};

// A YAML text with its lines, so that diagnostics can show them.
struct YamlDocument {
  std::string file;  // as shown in messages
  std::string text;
  YamlNode root;
  // Position of a node with its source line. The carets cover the node's text if the line has it there.
  SourceLocation location(const YamlNode& node) const;
};

// Adds problems to `diagnostics` (E0102 duplicate key, E0105 tab, E0109, E0111); nullopt if the text cannot be used.
std::optional<YamlDocument> parse_yaml(std::string file, std::string text, const YamlLimits& limits,
                                       Diagnostics& diagnostics);

// Numbers and booleans by the program's own grammar, whatever the locale; only plain scalars are accepted. On failure
// they return nullopt and fill the problem: E0103 outside the range of the type, E0104 wrong form (quoted, decimal
// comma, `16k`, `yes`), E0106 ambiguous (`010`, `0x10`, `1_000`, `1:30`), E0110 not finite.
struct ScalarProblem {
  std::string code, message, help;
};
std::optional<long long> parse_yaml_integer(const YamlNode& node, ScalarProblem& problem);
std::optional<double> parse_yaml_float(const YamlNode& node, ScalarProblem& problem);
std::optional<bool> parse_yaml_bool(const YamlNode& node, ScalarProblem& problem);

}  // namespace shori
