#include "src/data/lint/prose_edits.h"

#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

std::vector<Edit> ascii_quotes(std::string_view prose) {
  std::vector<Edit> edits;
  for (std::size_t at = 0; at < prose.size(); ++at) {
    if (static_cast<unsigned char>(prose[at]) < 0xC2) continue;
    const std::string_view ascii = ascii_quote(prose, at);
    if (!ascii.empty()) edits.push_back({{at, at + code_point_at(prose, at).bytes}, std::string(ascii)});
  }
  return edits;
}

std::vector<Edit> three_dots(std::string_view prose) {
  std::vector<Edit> edits;
  for (auto run = find_ellipsis(prose, 0); run; run = find_ellipsis(prose, run->end)) edits.push_back({*run, "..."});
  return edits;
}

// Deletes what is too much, so that the space that remains is not touched.
std::vector<Edit> single_spaces(std::string_view prose) {
  std::vector<Edit> edits;
  for (auto run = find_spacing(prose, 0); run; run = find_spacing(prose, run->span.end))
    edits.push_back({{run->span.begin + run->replacement.size(), run->span.end}, ""});
  return edits;
}

// The space after `>`.
std::vector<Edit> spaced_quotes(std::string_view prose) {
  std::vector<Edit> edits;
  for (const TextSpan& line : lines_of(prose)) {
    const std::size_t next = line.begin + 1;
    if (line.begin == line.end || prose[line.begin] != '>') continue;
    if (next == line.end || (prose[next] != ' ' && prose[next] != '>')) edits.push_back({{next, next}, " "});
  }
  return edits;
}

}  // namespace

std::span<const ProseFix> prose_fixes() {
  static constexpr ProseFix kFixes[] = {{LintRule::kCurlyQuotes, ascii_quotes},
                                        {LintRule::kEllipsis, three_dots},
                                        {LintRule::kSpacing, single_spaces},
                                        {LintRule::kQuotedLines, spaced_quotes}};
  return kFixes;
}

}  // namespace shori
