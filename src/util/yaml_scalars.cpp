// The scalars of configs: decimal integers, decimal numbers, true and false. Independent of the locale.
#include <charconv>
#include <cmath>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"

namespace shori {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view without_sign(std::string_view text) {
  return !text.empty() && (text[0] == '+' || text[0] == '-') ? text.substr(1) : text;
}

std::size_t count_digits(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  return count;
}

bool all_of(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

// [-+]?(0|[1-9][0-9]*)
bool is_integer(std::string_view text) {
  text = without_sign(text);
  return !text.empty() && count_digits(text) == text.size() && (text[0] != '0' || text.size() == 1);
}

// [-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?
bool is_float(std::string_view text) {
  text = without_sign(text);
  const std::size_t whole = count_digits(text);
  if (whole > 1 && text[0] == '0') return false;
  text.remove_prefix(whole);
  if (text.starts_with('.')) {
    const std::size_t fraction = count_digits(text.substr(1));
    if (whole + fraction == 0) return false;
    text.remove_prefix(1 + fraction);
  } else if (whole == 0) {
    return false;
  }
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text = without_sign(text.substr(1));
  return !text.empty() && count_digits(text) == text.size();
}

// Numbers that YAML readers read in different ways: 010, 0x10, 0o10, 0b11, 1_000, 1:30.
bool is_ambiguous(std::string_view text) {
  text = without_sign(text);
  if (text.empty() || !is_digit(text[0])) return false;
  if (text[0] == '0' && text.size() > 1) {
    if (is_digit(text[1])) return all_of(text, "0123456789_.eE+-");
    if (text[1] == 'x' || text[1] == 'X') return all_of(text.substr(2), "0123456789abcdefABCDEF_");
    if (text[1] == 'o' || text[1] == 'b') return all_of(text.substr(2), "01234567_");
  }
  if (text.find('_') != std::string_view::npos) return all_of(text, "0123456789_.eE+-");
  return text.find(':') != std::string_view::npos && all_of(text, "0123456789:.");
}

bool is_not_finite(std::string_view text) {
  text = without_sign(text);
  for (const std::string_view word : {".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF"})
    if (text == word) return true;
  return false;
}

std::string found(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull) return "nothing";
  if (node.kind != YamlNode::Kind::kScalar) return node.kind == YamlNode::Kind::kSequence ? "a list" : "a mapping";
  return "`" + escape_for_log(node.text) + "`" + (node.quoted ? " in quotes" : "");
}

// Fills `problem` for a node that is not a number of the wanted form.
void explain(const YamlNode& node, std::string_view wanted, ScalarProblem& problem) {
  problem = {"E0104", concat("wants ", wanted, ", found ", found(node)), ""};
  if (node.kind != YamlNode::Kind::kScalar) return;
  const std::string& text = node.text;
  if (node.quoted) {
    if (is_float(text)) problem.help = "write `" + text + "` without quotes";
  } else if (is_ambiguous(text)) {
    problem = {"E0106", found(node) + " has more than one meaning", "write the number in plain decimal digits"};
  } else if (is_not_finite(text)) {
    problem = {"E0110", found(node) + " is not a finite number", ""};
  } else if (text.find(',') != std::string::npos && all_of(text, "0123456789,.eE+-")) {
    std::string with_point = text;
    with_point[text.find(',')] = '.';
    if (is_float(with_point)) problem.help = "write `" + with_point + "`: decimals have a point";
  } else if (text.size() > 1 && (text.back() == 'k' || text.back() == 'K') && text.size() < 10 &&
             is_integer(text.substr(0, text.size() - 1))) {
    problem.help = concat("write `", std::stoll(text) * 1024, "`");
  }
}

template <typename T>
std::optional<T> convert(const std::string& text, ScalarProblem& problem) {
  const std::string_view digits = std::string_view(text).substr(text[0] == '+' ? 1 : 0);
  T value{};
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec == std::errc()) return value;
  problem = {"E0103", "`" + escape_for_log(text) + "` is outside the range of numbers", ""};
  return std::nullopt;
}

}  // namespace

std::optional<long long> parse_yaml_integer(const YamlNode& node, ScalarProblem& problem) {
  if (node.kind == YamlNode::Kind::kScalar && !node.quoted && is_integer(node.text))
    return convert<long long>(node.text, problem);
  explain(node, "an integer", problem);
  return std::nullopt;
}

std::optional<double> parse_yaml_float(const YamlNode& node, ScalarProblem& problem) {
  if (node.kind == YamlNode::Kind::kScalar && !node.quoted && is_float(node.text))
    return convert<double>(node.text, problem);
  explain(node, "a number", problem);
  return std::nullopt;
}

std::optional<bool> parse_yaml_bool(const YamlNode& node, ScalarProblem& problem) {
  if (node.kind == YamlNode::Kind::kScalar && !node.quoted) {
    for (const std::string_view word : {"true", "True", "TRUE"})
      if (node.text == word) return true;
    for (const std::string_view word : {"false", "False", "FALSE"})
      if (node.text == word) return false;
  }
  problem = {"E0104", "wants `true` or `false`, found " + found(node), ""};
  if (node.kind != YamlNode::Kind::kScalar) return std::nullopt;
  for (const std::string_view word : {"yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "true"})
    if (node.text == word) problem.help = "write `true`";
  for (const std::string_view word : {"no", "No", "NO", "off", "Off", "OFF", "n", "N", "false"})
    if (node.text == word) problem.help = "write `false`";
  return std::nullopt;
}

}  // namespace shori
