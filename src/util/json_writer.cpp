#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "shori/util/error.h"
#include "shori/util/json.h"

namespace shori {
namespace {

enum CanonicalKind { kScalar, kObject, kArray };

}  // namespace

std::string format_double(double number) {
  SHORI_CHECK(std::isfinite(number), "a number that is not finite was to be written as JSON");
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  std::string text(buffer, result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string double_bits_hex(double number) {
  constexpr char kDigits[] = "0123456789abcdef";
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(number);
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[(bits >> shift) & 15];
  return text;
}

std::optional<double> double_from_bits_hex(std::string_view hex) {
  if (hex.size() != 16 || hex.find_first_not_of("0123456789abcdef") != std::string_view::npos) return std::nullopt;
  std::uint64_t bits = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), bits, 16);
  return std::bit_cast<double>(bits);
}

std::string json_quote(std::string_view text) {
  constexpr std::string_view kNames = "\"\\bfnrt", kValues = "\"\\\b\f\n\r\t";
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const std::size_t which = kValues.find(c);
    if (which != std::string_view::npos) {
      out += '\\';
      out += kNames[which];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kDigits[c >> 4];
      out += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

void JsonWriter::new_line() {
  if (indent_ == 0) return;
  text_ += '\n';
  text_.append(has_items_.size() * static_cast<std::size_t>(indent_), ' ');
}

void JsonWriter::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (has_items_.empty()) return;
  if (has_items_.back()) text_ += ',';
  has_items_.back() = true;
  new_line();
}

JsonWriter& JsonWriter::begin_object() {
  before_value();
  text_ += '{';
  has_items_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::end_object() {
  const bool had_items = has_items_.back();
  has_items_.pop_back();
  if (had_items) new_line();
  text_ += '}';
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  before_value();
  text_ += '[';
  has_items_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::end_array() {
  const bool had_items = has_items_.back();
  has_items_.pop_back();
  if (had_items) new_line();
  text_ += ']';
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  before_value();
  text_ += json_quote(name);
  text_ += indent_ == 0 ? ":" : ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  before_value();
  text_ += json_quote(text);
  return *this;
}

JsonWriter& JsonWriter::value(bool flag) {
  before_value();
  text_ += flag ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  before_value();
  text_ += format_double(number);
  return *this;
}

JsonWriter& JsonWriter::value(std::int64_t number) {
  before_value();
  text_ += std::to_string(number);
  return *this;
}

JsonWriter& JsonWriter::value(std::uint64_t number) {
  before_value();
  text_ += std::to_string(number);
  return *this;
}

JsonWriter& JsonWriter::null() {
  before_value();
  text_ += "null";
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  before_value();
  text_ += json;
  return *this;
}

CanonicalJson CanonicalJson::object() {
  CanonicalJson json;
  json.kind_ = kObject;
  return json;
}

CanonicalJson CanonicalJson::array() {
  CanonicalJson json;
  json.kind_ = kArray;
  return json;
}

CanonicalJson CanonicalJson::string(std::string_view text) {
  CanonicalJson json;
  json.scalar_ = json_quote(text);
  return json;
}

CanonicalJson CanonicalJson::integer(std::int64_t number) {
  CanonicalJson json;
  json.scalar_ = std::to_string(number);
  return json;
}

CanonicalJson CanonicalJson::unsigned_integer(std::uint64_t number) {
  CanonicalJson json;
  json.scalar_ = std::to_string(number);
  return json;
}

CanonicalJson CanonicalJson::boolean(bool flag) {
  CanonicalJson json;
  json.scalar_ = flag ? "true" : "false";
  return json;
}

CanonicalJson CanonicalJson::null() {
  CanonicalJson json;
  json.scalar_ = "null";
  return json;
}

CanonicalJson CanonicalJson::real(double number) { return string(double_bits_hex(number)); }

CanonicalJson& CanonicalJson::set(std::string key, CanonicalJson value) {
  SHORI_CHECK(kind_ == kObject, "a key was set on a value that is not an object");
  const auto at = std::lower_bound(members_.begin(), members_.end(), key,
                                   [](const auto& member, const std::string& name) { return member.first < name; });
  if (at != members_.end() && at->first == key)
    at->second = std::move(value);
  else
    members_.emplace(at, std::move(key), std::move(value));
  return *this;
}

CanonicalJson& CanonicalJson::push(CanonicalJson value) {
  SHORI_CHECK(kind_ == kArray, "a value was added to one that is not an array");
  items_.push_back(std::move(value));
  return *this;
}

std::string CanonicalJson::text() const {
  if (kind_ == kScalar) return scalar_;
  std::string out;
  for (const auto& [key, value] : members_) out += (out.empty() ? "" : ",") + json_quote(key) + ":" + value.text();
  for (const CanonicalJson& item : items_) out += (out.empty() ? "" : ",") + item.text();
  return kind_ == kObject ? "{" + out + "}" : "[" + out + "]";
}

}  // namespace shori
