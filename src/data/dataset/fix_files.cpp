#include "shori/data/fix_files.h"

#include <algorithm>

#include "shori/data/yaml_source.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/data/blockml/segment_checks.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/sources/find_files.h"
#include "src/data/sources/jsonl.h"

namespace shori {
namespace {

bool any(const LintFixes& fixes) {
  return std::any_of(fixes.begin(), fixes.end(), [](std::size_t n) { return n > 0; });
}

class FileFixer {
 public:
  FileFixer(const DataEntry& entry, const LintOptions& options, const YamlSourceOptions& yaml, FixSummary& summary,
            Diagnostics& diagnostics)
      : entry_(entry), options_(options), yaml_(yaml), summary_(summary), diagnostics_(diagnostics) {}

  FixedFile fix(const FoundFile& found) {
    const InputFile input = InputFile::open(found.full_path, "E0315");
    FixedFile file;
    file.path = found.shown;
    file.full_path = found.full_path;
    file.relative = relative(found.path);
    file.before = text_of(input, found);
    file.after = fixed(found, file);
    return file;
  }

 private:
  // What a run reads of the file: normalizing alone is no fix.
  std::string text_of(const InputFile& input, const FoundFile& found) {
    constexpr std::uint64_t kLimit = kConversationBytes * 4;
    if (input.size() > kLimit)
      throw Error(too_large(concat("the file is larger than ", kLimit >> 20, " MiB")).at(found.shown));
    std::string text;
    if (auto problem = refuse_file_form(input, found.shown)) {
      diagnostics_.add(std::move(*problem));
      return text;
    }
    TextStream(input, found.type == DataType::kCompletion ? LineEnds::kKeep : LineEnds::kNormalize).read_all(text);
    return text;
  }

  std::string relative(const std::string& path) const {
    std::string folder = entry_.path;
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    return path.starts_with(folder + "/") ? path.substr(folder.size() + 1) : file_name(path);
  }

  std::string fixed(const FoundFile& found, FixedFile& file) {
    switch (found.type) {
      case DataType::kBlockml:
        return fixed_text(file.before, {found.shown, 0}, file.fixes).value_or(file.before);
      case DataType::kBlockmlJsonl:
        return fixed_lines(file);
      case DataType::kBlockmlYaml:
        count_yaml(file);
        return file.before;
      case DataType::kCompletion:
      case DataType::kTokenized:
        return file.before;
    }
    return file.before;
  }

  // The canonical text with its fixes; nullopt where there are none, or the text does not parse.
  std::optional<std::string> fixed_text(const std::string& text, const TextSource& source, FixOutcome& fixes) {
    std::optional<BlockmlDocument> document = parse_blockml(text, source, diagnostics_);
    if (!document) return std::nullopt;
    const FixOutcome found = fix_document(*document, options_);
    for (std::size_t i = 0; i < kLintRuleCount; ++i) {
      fixes.fixed[i] += found.fixed[i];
      fixes.dropped[i] += found.dropped[i];
    }
    if (!any(found.fixed)) return std::nullopt;
    return render(*document);
  }

  std::string fixed_lines(FixedFile& file) {
    std::string result;
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < file.before.size();) {
      const std::size_t end = std::min(file.before.find('\n', begin), file.before.size());
      result += fixed_line(file.before.substr(begin, end - begin), file, ++number);
      if (end < file.before.size()) result += '\n';
      begin = end + 1;
    }
    return result;
  }

  std::string fixed_line(const std::string& line, FixedFile& file, std::size_t number) {
    LineRules rules;
    if (!entry_.field.empty()) rules.field = entry_.field;
    std::vector<Diagnostic> problems;
    const std::optional<DataLine> data = parse_data_line(line, file.path, number, rules, problems);
    for (Diagnostic& problem : problems) diagnostics_.add(std::move(problem));
    if (!data) return line;
    const std::optional<std::string> text = fixed_text(data->text, {file.path, number}, file.fixes);
    if (!text) return line;
    JsonProblem problem;
    JsonRepairs repairs;
    const std::optional<JsonValue> object = parse_json(line, {kMaxLine, 16}, problem, &repairs);
    SHORI_CHECK(object && object->find(rules.field) != nullptr, "a line that was read is not read again");
    const std::size_t begin = object->find(rules.field)->offset;
    return line.substr(0, begin) + json_quote(*text) + line.substr(string_end(line, begin));
  }

  // One past the string literal at `begin`.
  static std::size_t string_end(const std::string& line, std::size_t begin) {
    std::size_t at = begin + 1;
    while (line[at] != '"') at += line[at] == '\\' ? 2 : 1;
    return at + 1;
  }

  void count_yaml(const FixedFile& file) {
    if (!check_text(file.before, {file.path, 0}, diagnostics_)) return;
    for (const YamlText& document : split_yaml_documents(file.before)) {
      auto conversation = parse_yaml_conversation(document.text, file.path, document.line, yaml_, diagnostics_);
      if (!conversation) continue;
      summary_.unfixed += any(fix_document(conversation->document, options_).fixed) ? 1 : 0;
    }
  }

  const DataEntry& entry_;
  const LintOptions& options_;
  const YamlSourceOptions& yaml_;
  FixSummary& summary_;
  Diagnostics& diagnostics_;
};

}  // namespace

FixSummary fix_data_files(const std::vector<DataEntry>& entries, const LintOptions& options,
                          const YamlSourceOptions& yaml, const std::function<void(FixedFile)>& use,
                          Diagnostics& diagnostics) {
  FixSummary summary;
  for (const DataEntry& entry : entries) {
    FileFixer fixer(entry, options, yaml, summary, diagnostics);
    std::vector<std::string> skipped;
    for (const FoundFile& found : find_data_files(entry, skipped, diagnostics)) {
      throw_if_stop_requested();
      use(fixer.fix(found));
    }
  }
  return summary;
}

}  // namespace shori
