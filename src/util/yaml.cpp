#include "shori/util/yaml.h"

#include "shori/util/utf8.h"

namespace shori {

YamlNode::YamlNode() = default;
YamlNode::YamlNode(const YamlNode& other) = default;
YamlNode::YamlNode(YamlNode&& other) noexcept = default;
YamlNode& YamlNode::operator=(const YamlNode& other) = default;
YamlNode& YamlNode::operator=(YamlNode&& other) noexcept = default;
YamlNode::~YamlNode() = default;

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const auto& member : members)
    if (member.first.text == key) return &member.second;
  return nullptr;
}

SourceLocation YamlDocument::location(const YamlNode& node) const {
  SourceLocation location{.file = file, .line = node.line, .column = node.column, .end_column = 0, .source_line = {}};
  std::size_t begin = 0;
  for (std::size_t line = 1; line < node.line && begin != std::string::npos; ++line) {
    begin = text.find('\n', begin);
    if (begin != std::string::npos) ++begin;
  }
  if (node.line == 0 || begin == std::string::npos) return location;
  std::string_view line = std::string_view(text).substr(begin, text.find('\n', begin) - begin);
  if (line.ends_with('\r')) line.remove_suffix(1);
  constexpr std::size_t kShownLine = 64u << 10;  // longer lines are not part of a message
  if (line.size() > kShownLine) return location;
  location.source_line = line;
  if (node.kind != YamlNode::Kind::kScalar || node.column == 0) return location;
  std::size_t offset = 0;
  for (std::size_t column = 1; column < node.column && offset < line.size(); ++column)
    offset += code_point_at(line, offset).bytes;
  const std::size_t quote = node.quoted ? 1 : 0;
  if (offset + quote <= line.size() && line.substr(offset + quote).starts_with(node.text))
    location.end_column = node.column + count_code_points(node.text) + 2 * quote;
  return location;
}

}  // namespace shori
