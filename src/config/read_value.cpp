// Scalars and lists of a config file as typed values.
#include <algorithm>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/axolotl_values.h"
#include "src/config/settings.h"

namespace shori {
namespace {

Diagnostic wrong_form(const Setting& setting, const std::string& wanted) {
  Diagnostic diagnostic("E0104",
                        concat("`", setting.key, "` must be ", wanted, ", found `", value_text(setting.value), "`"));
  diagnostic.at(setting.value_location());
  if (setting.value.quoted) diagnostic.note("the value is quoted; numbers, true and false are written without quotes");
  return diagnostic;
}

// `7.25e5` -> `7.25e-5`, if that is in range: people often forget the sign of an exponent.
std::string text_with_negative_exponent(const ValueRule& rule, const std::string& text) {
  const std::size_t e = text.find_first_of("eE");
  if (e == std::string::npos || e + 1 == text.size() || text[e + 1] == '-') return "";
  std::string digits = text.substr(e + 1);
  if (digits[0] == '+') digits.erase(0, 1);
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text.substr(0, e + 1) + "-" + digits;
  ScalarProblem problem;
  const auto number = parse_yaml_float(node, problem);
  return number && rule.contains(*number) ? node.text : "";
}

Diagnostic out_of_range(const KeyInfo& key, const Setting& setting, const std::string& number) {
  ValueRule bounds = key.rule;
  bounds.share_or_count = false;
  ScalarProblem problem;
  const auto value = parse_yaml_float(setting.value, problem);
  const bool fraction = key.rule.share_or_count && value && bounds.contains(*value);
  const std::string reason =
      fraction ? " is neither a share below 1 nor a whole number" : " is outside " + key.rule.range_text();
  Diagnostic diagnostic("E0103", concat("`", setting.key, "` ", number, reason));
  diagnostic.at(setting.value_location());
  const std::string text = value_text(setting.value);
  if (text != number) diagnostic.note(concat("read from `", text, "`"));
  const std::string likely = text_with_negative_exponent(key.rule, setting.value.text);
  const std::string nearest = likely.empty() ? nearest_value(key.name, text) : concat("write `", likely, "`");
  if (!nearest.empty()) diagnostic.help(nearest);
  return diagnostic;
}

// Turns a problem of the scalar grammar into a message about this key.
Diagnostic scalar_diagnostic(const KeyInfo& key, const Setting& setting, const ScalarProblem& problem) {
  const std::string text = value_text(setting.value);
  if (problem.code == "E0103") return out_of_range(key, setting, text);
  TrainConfig scratch;
  const bool flag = std::holds_alternative<bool*>(key.field(scratch));
  KeyInfo plain = key;
  plain.rule.bounded = false;
  Diagnostic diagnostic = wrong_form(setting, flag ? "`true` or `false`" : value_kind_text(plain));
  if (problem.code == "E0106") {
    diagnostic = Diagnostic("E0106", concat("`", text, "` has more than one meaning"));
    diagnostic.note("YAML readers disagree about it");
  } else if (problem.code == "E0110") {
    diagnostic = Diagnostic("E0110", concat("`", setting.key, "` is not a finite number: `", text, "`"));
  }
  diagnostic.at(setting.value_location());
  const std::string nearest = nearest_value(key.name, setting.value.text);
  if (!problem.help.empty() || !nearest.empty()) diagnostic.help(problem.help.empty() ? nearest : problem.help);
  return diagnostic;
}

class ValueReader {
 public:
  ValueReader(const KeyInfo& key, const Setting& setting, const std::string& folder, Diagnostics& diagnostics)
      : key_(key), setting_(setting), folder_(folder), diagnostics_(diagnostics) {}

  bool operator()(bool* field) { return scalar(parse_yaml_bool, *field); }
  bool operator()(double* field) { return real(*field); }
  bool operator()(OptionalReal* field) { return real(*field); }
  bool operator()(Integer* field) { return integer(*field); }
  bool operator()(OptionalInteger* field) { return integer(*field); }
  bool operator()(DatasetList* field) { return read_datasets(setting_, folder_, *field, diagnostics_); }
  bool operator()(LintConfig* field) { return read_lint(setting_, folder_, *field, diagnostics_); }
  bool operator()(LengthBounds* field) { return read_length_bounds(setting_, *field, diagnostics_); }

  bool operator()(std::string* field) {
    if (setting_.value.kind != YamlNode::Kind::kScalar || setting_.value.text.empty()) return refuse("a text");
    *field = setting_.value.text;
    return true;
  }

  bool operator()(const WordField& field) {
    const auto& words = field.words;
    const auto found = std::find(words.begin(), words.end(), std::string_view(setting_.value.text));
    if (setting_.value.kind != YamlNode::Kind::kScalar || found == words.end()) return refuse_word(words);
    field.set(field.field, static_cast<std::size_t>(found - words.begin()));
    return true;
  }

  bool operator()(TextList* field) {
    if (key_.name == "sample_prompts" && setting_.value.kind == YamlNode::Kind::kScalar) {
      TextList one;
      if (!add_item(setting_.value, one)) return false;
      *field = one;
      return true;
    }
    if (setting_.value.kind != YamlNode::Kind::kSequence) return refuse(concat("a list such as [", example(), "]"));
    TextList list;
    bool good = true;
    for (const YamlNode& item : setting_.value.items) good = add_item(item, list) && good;
    if (good) *field = in_table_order(std::move(list));
    return good;
  }

 private:
  template <typename Parse, typename T>
  bool scalar(Parse parse, T& into) {
    ScalarProblem problem{"E0104", "", ""};
    const auto value = setting_.value.kind == YamlNode::Kind::kScalar ? parse(setting_.value, problem)
                                                                      : decltype(parse({}, problem))();
    if (value) into = *value;
    if (!value) diagnostics_.add(scalar_diagnostic(key_, setting_, problem));
    return value.has_value();
  }

  template <typename T>
  bool in_range(double number, T value, auto& field) {
    if (!key_.rule.contains(number)) {
      diagnostics_.add(out_of_range(key_, setting_, number_text(number)));
      return false;
    }
    field = value;
    return true;
  }

  bool integer(auto& field) {
    long long value = 0;
    return scalar(parse_yaml_integer, value) && in_range(static_cast<double>(value), value, field);
  }

  bool real(auto& field) {
    double value = 0;
    return scalar(parse_yaml_float, value) && in_range(value, value, field);
  }

  bool refuse(const std::string& wanted) {
    Diagnostic diagnostic = wrong_form(setting_, wanted);
    if (const std::string nearest = nearest_value(key_.name, setting_.value.text); !nearest.empty())
      diagnostic.help(nearest);
    diagnostics_.add(std::move(diagnostic));
    return false;
  }

  bool refuse_word(std::span<const std::string_view> words) {
    Diagnostic diagnostic = wrong_form(setting_, value_kind_text(key_));
    diagnostic.notes.clear();
    propose_similar(diagnostic, "value", setting_.value.text, {words.begin(), words.end()});
    const std::string nearest = nearest_value(key_.name, setting_.value.text);
    if (!nearest.empty() && diagnostic.helps.empty()) diagnostic.help(nearest);
    diagnostics_.add(std::move(diagnostic));
    return false;
  }

  bool add_item(const YamlNode& item, TextList& list) {
    Setting element = setting_;
    element.value = item;
    const auto& words = key_.rule.words;
    const bool known = words.empty() || std::find(words.begin(), words.end(), item.text) != words.end();
    if (item.kind != YamlNode::Kind::kScalar || item.text.empty() || !known) {
      Diagnostic diagnostic = wrong_form(element, value_kind_text(key_));
      diagnostic.notes.clear();
      propose_similar(diagnostic, "value", item.text, {words.begin(), words.end()});
      diagnostics_.add(std::move(diagnostic));
      return false;
    }
    if (std::find(list.begin(), list.end(), item.text) != list.end()) {
      diagnostics_.add(Diagnostic("E0107", concat("`", setting_.key, "` names `", value_text(item), "` twice"))
                           .at(element.value_location())
                           .help("delete one"));
      return false;
    }
    list.push_back(item.text);
    return true;
  }

  // Lists of words are sets. They get one order, so that equal sets have one hash.
  TextList in_table_order(TextList list) const {
    if (key_.rule.words.empty()) return list;
    TextList ordered;
    for (std::string_view word : key_.rule.words) {
      if (std::find(list.begin(), list.end(), word) != list.end()) ordered.emplace_back(word);
    }
    return ordered;
  }

  std::string example() const { return key_.rule.words.empty() ? "..." : std::string(key_.rule.words[0]); }

  const KeyInfo& key_;
  const Setting& setting_;
  const std::string& folder_;
  Diagnostics& diagnostics_;
};

}  // namespace

SourceLocation Setting::value_location() const {
  return value.kind == YamlNode::Kind::kScalar ? document->location(value) : key_location();
}

ValueOrigin Setting::origin() const {
  if (value.kind == YamlNode::Kind::kNull && written.empty()) return {ValueOrigin::Kind::kLeftEmpty, key_location()};
  return {kind, value_location(), written};
}

const Setting* find_setting(const Settings& settings, std::string_view key) {
  for (const Setting& setting : settings) {
    if (setting.key == key) return &setting;
  }
  return nullptr;
}

std::string value_text(const YamlNode& value) {
  switch (value.kind) {
    case YamlNode::Kind::kNull:
      return "null";
    case YamlNode::Kind::kScalar:
      return escape_for_log(value.text);
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "a mapping";
  }
  return "";
}

std::string quoted_value(const YamlNode& value) {
  return value.kind == YamlNode::Kind::kScalar ? concat("`", value_text(value), "`") : value_text(value);
}

bool explain_no_break_space(Diagnostic& diagnostic, std::string_view name) {
  if (name.find(kNoBreakSpace) == std::string_view::npos) return false;
  diagnostic.note("it has a no-break space (U+00A0), which looks like a space, but is a letter to YAML")
      .help("replace it with a space, or delete it");
  return true;
}

void propose_similar(Diagnostic& diagnostic, std::string_view kind, std::string_view name,
                     const std::vector<std::string_view>& names) {
  const std::string similar = find_similar_name(name, names);
  if (similar.empty()) return;
  diagnostic.help(concat("a ", kind, " with a similar name exists: `", similar, "`"));
}

bool apply_setting(const KeyInfo& key, const Setting& setting, const std::string& folder, TrainConfig& config,
                   Diagnostics& diagnostics) {
  if (setting.value.kind == YamlNode::Kind::kNull) return true;
  return std::visit(ValueReader(key, setting, folder, diagnostics), key.field(config));
}

}  // namespace shori
