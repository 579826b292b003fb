#include "src/data/sources/jsonl.h"

#include <algorithm>
#include <array>

#include "shori/util/command.h"
#include "shori/util/ignored_label.h"
#include "shori/util/json.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr int kDepth = 16;
// Ids and labels of the longest sequence_len that a config may name. Bounds the memory of a parsed line.
constexpr std::size_t kMaxValues = 2 * (1u << 20) + 1024;

class LineCheck {
 public:
  LineCheck(std::string_view line, const std::string& file, std::uint64_t number, std::vector<Diagnostic>& problems)
      : line_(line), file_(file), number_(number), problems_(problems) {}

  Diagnostic& add(std::string_view code, const std::string& message, std::size_t offset) {
    problems_.push_back(Diagnostic(code, message).at(file_, number_, column_of(offset)));
    return problems_.back();
  }
  Diagnostic& add_without_column(std::string_view code, const std::string& message) {
    problems_.push_back(Diagnostic(code, message).at(file_, number_));
    return problems_.back();
  }

 private:
  // Code points before the offset, plus one. The bytes before a reported offset are always well-formed.
  std::size_t column_of(std::size_t offset) const {
    const auto end = line_.begin() + static_cast<std::ptrdiff_t>(std::min(offset, line_.size()));
    return 1 + static_cast<std::size_t>(std::count_if(line_.begin(), end, [](char c) { return (c & 0xC0) != 0x80; }));
  }
  std::string_view line_;
  const std::string& file_;
  std::uint64_t number_;
  std::vector<Diagnostic>& problems_;
};

// Commas outside strings: a bound on the number of values that does not need the values.
std::size_t count_commas(std::string_view line) {
  std::size_t commas = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') in_string = !in_string;
    if (in_string && line[i] == '\\') ++i;
    if (!in_string && line[i] == ',') ++commas;
  }
  return commas;
}

std::string example_line(const LineRules& rules) {
  if (rules.tokenized) return "a line is one object: {\"input_ids\": [1, 733, 2]}, `labels` may follow";
  return "a line is one object: {\"" + escape_for_log(rules.field) + "\": \"...\"}";
}

std::string hex_byte(unsigned char byte) {
  constexpr std::string_view digits = "0123456789abcdef";
  return {'0', 'x', digits[byte >> 4], digits[byte & 15]};
}

bool check_text_form(std::string_view line, const std::string& file, LineCheck& check) {
  if (const auto bad = find_invalid_utf8(line)) {
    const auto byte = static_cast<unsigned char>(line[*bad]);
    Diagnostic& problem = check.add("E0304", "byte " + hex_byte(byte) + " is not UTF-8", *bad);
    if (byte >= 0x80 && byte <= 0x9F) problem.note("looks like Windows-1252");
    problem.help(utf8_command(file, line));
    return false;
  }
  if (line.starts_with(kByteOrderMark)) {
    check.add("E0304", "a byte order mark inside the file", 0)
        .note("bytes ef bb bf")
        .help("delete it: " + sed_command("'s/^\\xEF\\xBB\\xBF//'", file));
    return false;
  }
  if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos) {
    check.add("E0304", "control character U+0000", nul).note("byte 0x00").help(control_command(file));
    return false;
  }
  return true;
}

std::optional<JsonValue> parse_object(std::string_view line, const std::string& file, const LineRules& rules,
                                      TextChanges& changes, LineCheck& check) {
  if (is_blank_line(line)) {
    check.add("E0312", "empty line", 0).help("delete the line; " + example_line(rules));
    return std::nullopt;
  }
  if (count_commas(line) > kMaxValues) {
    check.add("E0312", concat("more than ", kMaxValues, " values in one line"), 0).help(example_line(rules));
    return std::nullopt;
  }
  JsonProblem problem;
  JsonRepairs repairs;
  std::optional<JsonValue> value = parse_json(line, {kMaxLine, kDepth}, problem, &repairs);
  count_of(changes, TextChange::kHalf) += repairs.halves;
  if (!value) {
    const std::string command = json_command(file, line, problem.offset);
    check.add("E0312", escape_for_log(problem.message, 200), problem.offset)
        .help(command.empty() ? example_line(rules) : command);
  } else if (!value->is_object()) {
    check.add("E0312", "not an object", value->offset).help(example_line(rules));
    value.reset();
  }
  return value;
}

// A string that is not empty (NUL, which ends fields in fingerprints, is refused in JSON). An id may be a whole number.
bool read_name(const JsonValue& value, std::string_view key, std::string& name, LineCheck& check) {
  const bool number = value.kind == JsonValue::Kind::kNumber && value.as_unsigned().has_value() && key == "id";
  if ((!value.is_string() && !number) || value.text.empty()) {
    check.add("E0312", "`" + std::string(key) + "` is not a name", value.offset)
        .note("wanted: a string that is not empty")
        .help("give a string, or leave the key out");
    return false;
  }
  name = value.text;
  return true;
}

bool read_text(JsonValue& object, const LineRules& rules, DataLine& data, LineCheck& check) {
  JsonValue* found = nullptr;
  for (auto& [key, value] : object.members) {
    if (key == rules.field) found = &value;
  }
  if (found == nullptr || !found->is_string()) {
    const std::string what = found == nullptr ? "` is missing" : "` is not a string";
    check.add("E0312", "`" + escape_for_log(rules.field) + what, found == nullptr ? 0 : found->offset)
        .help(example_line(rules));
    return false;
  }
  data.text = std::move(found->text);
  if (!rules.keeps_line_ends) normalize_text(data.text, data.changes);
  return true;
}

bool read_ids(const JsonValue& array, const LineRules& rules, DataLine& data, LineCheck& check) {
  for (std::size_t i = 0; i < array.items.size(); ++i) {
    const JsonValue& item = array.items[i];
    const std::optional<std::uint64_t> id = item.as_unsigned();
    if (!id || *id >= static_cast<std::uint64_t>(rules.vocab_size)) {
      const std::string shown = item.text.empty() ? "(not a number)" : escape_for_log(item.text, 40);
      check
          .add("E0314", concat("token id ", shown, " at position ", i, ", vocabulary has ", rules.vocab_size),
               item.offset)
          .note(concat("ids are whole numbers from 0 to ", rules.vocab_size - 1))
          .help("encode this line again with the tokenizer of `base_model`");
      return false;
    }
    data.ids.push_back(static_cast<std::int32_t>(*id));
  }
  if (data.ids.size() >= 2 && data.ids[0] == rules.bos_id && data.ids[1] == rules.bos_id) {
    std::string begin;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, data.ids.size()); ++i) begin += concat(' ', data.ids[i]);
    check.add_without_column("E0313", "sample begins with two BOS:" + begin).help("drop one");
    return false;
  }
  return true;
}

bool read_labels(const JsonValue* labels, DataLine& data, LineCheck& check) {
  if (labels == nullptr) {
    data.trained.assign(data.ids.size(), 1);
    return true;
  }
  if (!labels->is_array() || labels->items.size() != data.ids.size()) {
    const std::string count = labels->is_array() ? concat(labels->items.size()) : "not a list";
    check
        .add("E0314", concat("`labels` and `input_ids` differ in length: ", count, ", ", data.ids.size()),
             labels->offset)
        .help("one label for each id: the id, or -100");
    return false;
  }
  for (std::size_t i = 0; i < data.ids.size(); ++i) {
    const JsonValue& item = labels->items[i];
    const std::optional<std::int64_t> label = item.as_integer();
    if (!label || (*label != data.ids[i] && *label != kIgnoredLabel)) {
      check
          .add("E0314",
               concat("label ", item.text.empty() ? "(not a number)" : escape_for_log(item.text, 40), " at position ",
                      i, " is neither the id ", data.ids[i], " nor -100"),
               item.offset)
          .note("labels are not shifted: label i belongs to id i")
          .help("write the id to train it, -100 to leave it out");
      return false;
    }
    data.trained.push_back(*label == kIgnoredLabel ? 0 : 1);
  }
  return true;
}

bool read_tokens(const JsonValue& object, const LineRules& rules, DataLine& data, LineCheck& check) {
  const JsonValue* ids = object.find("input_ids");
  if (ids == nullptr || !ids->is_array() || ids->items.empty()) {
    const std::string what = ids == nullptr ? "is missing" : !ids->is_array() ? "is not a list" : "is empty";
    check.add("E0312", "`input_ids` " + what, ids == nullptr ? 0 : ids->offset).help(example_line(rules));
    return false;
  }
  return read_ids(*ids, rules, data, check) && read_labels(object.find("labels"), data, check);
}

bool is_known_key(std::string_view key, const LineRules& rules) {
  constexpr std::array<std::string_view, 4> common = {"id", "category", "rating", "tags"};
  if (std::find(common.begin(), common.end(), key) != common.end()) return true;
  return rules.tokenized ? key == "input_ids" || key == "labels" : key == rules.field;
}

}  // namespace

bool LineReader::fill() {
  buffer_.erase(0, used_);
  used_ = 0;
  return stream_.read(buffer_);
}

bool LineReader::next(std::string& line, bool& too_long) {
  std::size_t searched = used_;
  too_long = false;
  for (;;) {
    const std::size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line.assign(buffer_, used_, end - used_);
      used_ = end + 1;
      too_long = line.size() > kMaxLine;
      return !too_long;
    }
    if (buffer_.size() - used_ > kMaxLine) {
      too_long = true;
      return false;
    }
    searched = buffer_.size() - used_;  // where new bytes will stand once the used ones are gone
    if (!fill()) break;
  }
  if (used_ == buffer_.size()) return false;
  line.assign(buffer_, used_);
  used_ = buffer_.size();
  return true;
}

std::optional<DataLine> parse_data_line(std::string_view line, const std::string& file, std::uint64_t line_number,
                                        const LineRules& rules, std::vector<Diagnostic>& problems) {
  LineCheck check(line, file, line_number, problems);
  if (!check_text_form(line, file, check)) return std::nullopt;
  DataLine data;
  std::optional<JsonValue> object = parse_object(line, file, rules, data.changes, check);
  if (!object) return std::nullopt;
  bool good = rules.tokenized ? read_tokens(*object, rules, data, check) : read_text(*object, rules, data, check);
  if (const JsonValue* id = object->find("id")) good = read_name(*id, "id", data.id, check) && good;
  if (const JsonValue* category = object->find("category"))
    good = read_name(*category, "category", data.category, check) && good;
  if (const JsonValue* rating = object->find("rating")) good = read_name(*rating, "rating", data.rating, check) && good;
  for (const auto& [key, value] : object->members) {
    if (!is_known_key(key, rules)) data.unknown_keys.push_back(key);
  }
  if (!good) return std::nullopt;
  return data;
}

}  // namespace shori
