#include "shori/util/utf8.h"
#include "src/data/sources/jsonl.h"
#include "tests/fuzz/fuzz_targets.h"

namespace shori::fuzz {
namespace {

constexpr std::int64_t kVocabulary = 32000;

void check_line(std::string_view line, const LineRules& rules) {
  std::vector<Diagnostic> problems;
  const std::optional<DataLine> data = parse_data_line(line, "fuzz", 1, rules, problems);
  require(data.has_value() == problems.empty(), "a line is read, or a problem is reported");
  for (const Diagnostic& problem : problems) require(problem.location.line == 1, "a problem has its line");
  if (!data) return;
  require(!find_invalid_utf8(data->text), "texts are UTF-8");
  require(data->ids.size() == data->trained.size(), "each id has a label");
  for (const std::int32_t id : data->ids) require(id >= 0 && id < kVocabulary, "ids are in range");
}

}  // namespace

void jsonl(std::string_view bytes) {
  LineRules text, tokens;
  tokens.tokenized = true;
  tokens.vocab_size = kVocabulary;
  for (std::size_t begin = 0; begin <= bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
    check_line(bytes.substr(begin, end - begin), text);
    check_line(bytes.substr(begin, end - begin), tokens);
    begin = end + 1;
  }
}

}  // namespace shori::fuzz
