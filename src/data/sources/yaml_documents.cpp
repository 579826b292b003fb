// A file is cut at its `---` and `...` lines before any YAML is parsed: a conversation that is broken is refused alone, and
// only one tree is in memory.
#include <algorithm>

#include "shori/data/yaml_source.h"

namespace shori {
namespace {

bool begins_document(std::string_view line) {
  return line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
}
bool ends_document(std::string_view line) { return line == "..." || line.starts_with("... "); }

bool has_content(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    const std::size_t first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos && line[first] != '#' && !ends_document(line) && line != "---") return true;
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return false;
}

}  // namespace

std::vector<YamlText> split_yaml_documents(std::string_view text) {
  std::vector<YamlText> documents;
  std::size_t begin = 0, begin_line = 1, line_number = 1;
  const auto take = [&](std::size_t end) {
    const std::string_view document = text.substr(begin, end - begin);
    if (has_content(document)) documents.push_back({document, begin_line});
    begin = end;
    begin_line = line_number;
  };
  for (std::size_t at = 0; at < text.size(); ++line_number) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (begins_document(line) || ends_document(line)) {
      take(at);
      if (ends_document(line)) begin = std::min(end + 1, text.size()), begin_line = line_number + 1;
    }
    at = end + 1;
  }
  take(text.size());
  return documents;
}

}  // namespace shori
