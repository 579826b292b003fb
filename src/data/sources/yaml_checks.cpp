#include "src/data/sources/yaml_checks.h"

#include <algorithm>
#include <utility>

#include "shori/config/vocabulary.h"
#include "shori/data/blockml.h"
#include "shori/util/utf8.h"

namespace shori {

SourceLocation YamlChecks::location_of(const YamlNode& node) const {
  SourceLocation at = yaml_.location(node);
  at.line += first_line_ - 1;
  return at;
}

Diagnostic& YamlChecks::problem(std::string_view code, const YamlNode& node, std::string message) {
  return problems_.emplace_back(Diagnostic(code, std::move(message)).at(location_of(node)));
}

void YamlChecks::move_to(Diagnostics& diagnostics) {
  for (Diagnostic& each : problems_) diagnostics.add(std::move(each));
}

void YamlChecks::check_keys(const YamlNode& mapping, std::span<const std::string_view> keys, const std::string& what) {
  for (const auto& [key, value] : mapping.members) {
    if (std::find(keys.begin(), keys.end(), key.text) != keys.end()) continue;
    Diagnostic& unknown = problem("E0312", key, "unknown key `" + escape_for_log(key.text) + "` of " + what);
    const std::string similar = find_similar_name(key.text, keys);
    if (!similar.empty()) unknown.help("a key with a similar name exists: `" + similar + "`");
    unknown.note("keys: " + join_words(keys, " "));
  }
}

bool YamlChecks::is_text(const YamlNode& node, const std::string& key) {
  if (node.kind == YamlNode::Kind::kScalar) return true;
  problem("E0312", node, "`" + key + "` is not a text");
  return false;
}

std::string YamlChecks::name(const YamlNode& node, const std::string& key) {
  const std::string_view text = trim_blockml(node.text);
  if (node.kind == YamlNode::Kind::kScalar && !text.empty()) return std::string(text);
  problem("E0312", node, "`" + key + "` is not a text");
  return "";
}

std::string YamlChecks::word(const YamlNode& node, const std::string& key, std::span<const std::string_view> words) {
  if (node.kind == YamlNode::Kind::kScalar && std::find(words.begin(), words.end(), node.text) != words.end())
    return node.text;
  Diagnostic& wrong = problem("E0312", node, "`" + key + "` is none of its words: `" + escape_for_log(node.text) + "`");
  const std::string similar = find_similar_name(node.text, words);
  if (!similar.empty()) wrong.help("a word with a similar name exists: `" + similar + "`");
  wrong.note("words: " + join_words(words, " "));
  return "";
}

}  // namespace shori
