// The mappings `lint` and `blockml.length_buckets`.
#include <algorithm>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/settings.h"

namespace shori {
namespace {

class MappingReader {
 public:
  MappingReader(const Setting& setting, Diagnostics& diagnostics) : setting_(setting), diagnostics_(diagnostics) {}

  bool is_mapping(const std::string& example) {
    if (setting_.value.kind == YamlNode::Kind::kMapping) return true;
    refuse("E0104", setting_.value, concat("must be a mapping, found `", value_text(setting_.value), "`"))
        .help(concat("write `", setting_.key, ": ", example, "`"));
    finish();
    return false;
  }

  Diagnostic& refuse(const std::string& code, const YamlNode& at, const std::string& what) {
    problems_.push_back(Diagnostic(code, concat("`", setting_.key, "` ", what)).at(setting_.document->location(at)));
    return problems_.back();
  }

  template <typename Names>
  void refuse_unknown(const YamlNode& key, const std::string& kind, const Names& names) {
    Diagnostic& unknown = refuse("E0101", key, concat("has no ", kind, " `", escape_for_log(key.text), "`"));
    propose_similar(unknown, kind, key.text, {names.begin(), names.end()});
  }

  bool finish() {
    for (Diagnostic& problem : problems_) diagnostics_.add(std::move(problem));
    return problems_.empty();
  }

 private:
  const Setting& setting_;
  Diagnostics& diagnostics_;
  std::vector<Diagnostic> problems_;
};

void read_level(const YamlNode& key, const YamlNode& value, MappingReader& reader, LintConfig& lint) {
  const std::optional<LintRule> rule = find_word<LintRule>(key.text);
  std::vector<std::string_view> names(kWords<LintRule>.begin(), kWords<LintRule>.end());
  names.insert(names.end(), {"usernames", "internal_hosts"});
  if (!rule) return reader.refuse_unknown(key, "rule", names);
  if (value.kind == YamlNode::Kind::kNull) return;
  const auto level =
      value.kind == YamlNode::Kind::kScalar ? find_word<LintLevel>(value.text) : std::optional<LintLevel>();
  if (!level) {
    Diagnostic& wrong = reader.refuse(
        "E0104", value, concat("`", key.text, "` must be off, info, warn or error, found `", value_text(value), "`"));
    propose_similar(wrong, "level", value.text, {kWords<LintLevel>.begin(), kWords<LintLevel>.end()});
    return;
  }
  lint.levels[static_cast<std::size_t>(*rule)] = level;
}

void read_hosts(const YamlNode& value, MappingReader& reader, LintConfig& lint) {
  if (value.kind == YamlNode::Kind::kNull) return;
  bool good = value.kind == YamlNode::Kind::kSequence;
  for (const YamlNode& item : value.items) good = good && item.kind == YamlNode::Kind::kScalar && !item.text.empty();
  if (!good) {
    reader.refuse("E0104", value, concat("`internal_hosts` must be a list of hosts, found `", value_text(value), "`"))
        .help("internal_hosts: [forum.example.org]");
    return;
  }
  for (const YamlNode& item : value.items) lint.internal_hosts.push_back(item.text);
}

}  // namespace

bool read_lint(const Setting& setting, const std::string& folder, LintConfig& lint, Diagnostics& diagnostics) {
  MappingReader reader(setting, diagnostics);
  if (!reader.is_mapping("{prose/thoughts: error}")) return false;
  LintConfig read;
  for (const auto& [key, value] : setting.value.members) {
    if (key.text == "internal_hosts") {
      read_hosts(value, reader, read);
    } else if (key.text != "usernames") {
      read_level(key, value, reader, read);
    } else if (value.kind == YamlNode::Kind::kScalar && !value.text.empty()) {
      read.usernames = value.text;
      read.resolved_usernames = path_in(folder, value.text);
    } else if (value.kind != YamlNode::Kind::kNull) {
      reader.refuse("E0104", value, concat("`usernames` must be a file, found `", value_text(value), "`"));
    }
  }
  if (!reader.finish()) return false;
  lint = std::move(read);
  return true;
}

bool read_length_bounds(const Setting& setting, LengthBounds& bounds, Diagnostics& diagnostics) {
  MappingReader reader(setting, diagnostics);
  if (!reader.is_mapping("{nano: 12, micro: 24}")) return false;
  LengthBounds read = kDefaultLengthBounds;
  for (const auto& [key, value] : setting.value.members) {
    const auto word = static_cast<std::size_t>(std::find(kBoundedLengths.begin(), kBoundedLengths.end(), key.text) -
                                               kBoundedLengths.begin());
    ScalarProblem problem;
    const auto number = value.kind == YamlNode::Kind::kScalar ? parse_yaml_integer(value, problem) : std::nullopt;
    if (word == kBoundedLengths.size()) {
      reader.refuse_unknown(key, "length", kBoundedLengths);
    } else if (!number || *number < 1) {
      reader.refuse("E0104", value,
                    concat("`", key.text, "` must be a whole number from 1, found `", value_text(value), "`"));
    } else {
      read[word] = *number;
    }
  }
  for (std::size_t i = 1; i < read.size(); ++i) {
    if (read[i] > read[i - 1]) continue;
    reader.refuse(
        "E0107", setting.key_node,
        concat("does not rise: ", kBoundedLengths[i - 1], " ", read[i - 1], ", ", kBoundedLengths[i], " ", read[i]));
    break;
  }
  if (!reader.finish()) return false;
  bounds = read;
  return true;
}

}  // namespace shori
