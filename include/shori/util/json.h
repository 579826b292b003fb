// Strict JSON: reading with limits and positions, and writing with a fixed form.
//
// Reading refuses: duplicate keys, depth or size beyond the limits, invalid UTF-8 and lone surrogate escapes, NUL, a
// byte order mark, anything behind the value but white space. Nothing recursive: depth is bounded by the limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shori {

struct JsonLimits {
  std::size_t bytes = 16u << 20;
  int depth = 16;
  std::size_t values = 4'000'000;  // bounds the memory of the tree
};

// A parsed value. Numbers keep their source text, so that no conversion happens unasked.
class JsonValue {
 public:
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  // Defined where the type is complete: its members are containers of itself.
  JsonValue();
  JsonValue(const JsonValue& other);
  JsonValue(JsonValue&& other) noexcept;
  JsonValue& operator=(const JsonValue& other);
  JsonValue& operator=(JsonValue&& other) noexcept;
  ~JsonValue();

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::string text;                                        // string value (decoded), or the number's source text
  std::vector<JsonValue> items;                            // array
  std::vector<std::pair<std::string, JsonValue>> members;  // object, in file order
  std::size_t offset = 0;                                  // byte offset of the value in the text
  std::size_t key_offset = 0;                              // byte offset of its key, for members

  const JsonValue* find(std::string_view key) const;  // member or nullptr
  bool is_null() const { return kind == Kind::kNull; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_object() const { return kind == Kind::kObject; }
  bool is_array() const { return kind == Kind::kArray; }
  // An unsigned integer literal without sign, point or exponent that fits; nullopt otherwise.
  std::optional<std::uint64_t> as_unsigned() const;
  std::optional<std::int64_t> as_integer() const;
  std::optional<double> as_double() const;  // any finite number literal
};

// What went wrong while parsing: message and byte offset. `duplicate_key` is set for that case, which has an error code
// of its own.
struct JsonProblem {
  std::string message;
  std::size_t offset = 0;
  bool duplicate_key = false;
};

// Returns nullopt and fills `problem` on any violation.
std::optional<JsonValue> parse_json(std::string_view text, const JsonLimits& limits, JsonProblem& problem);

// Writes JSON without white space (indent 0) or with `indent` spaces. Keys in the order of the calls. Doubles are the
// shortest decimal that reads back to the same value (always with a point or exponent); non-finite ones are a bug of
// ours.
class JsonWriter {
 public:
  explicit JsonWriter(int indent = 0) : indent_(indent) {}
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool flag);
  JsonWriter& value(double number);
  JsonWriter& value(std::int64_t number);
  JsonWriter& value(std::uint64_t number);
  JsonWriter& value(int number) { return value(static_cast<std::int64_t>(number)); }
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // a value that is JSON text already
  template <typename T>
  JsonWriter& field(std::string_view name, const T& v) {
    key(name);
    return value(v);
  }
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void before_value();
  void new_line();
  std::string text_;
  std::vector<bool> has_items_;
  bool after_key_ = false;
  int indent_;
};

// Text of a double as JsonWriter writes it.
std::string format_double(double number);
// 16 lower-case hex digits of the IEEE-754 bits: the form of doubles in canonical JSON.
std::string double_bits_hex(double number);
std::optional<double> double_from_bits_hex(std::string_view hex);
// `text` as a JSON string literal with only '"', '\' and control characters escaped.
std::string json_quote(std::string_view text);

// Canonical JSON value: keys sorted by bytes, no white space. Small tree for manifests and config hashes.
class CanonicalJson {
 public:
  static CanonicalJson object();
  static CanonicalJson array();
  static CanonicalJson string(std::string_view text);
  static CanonicalJson integer(std::int64_t number);
  static CanonicalJson unsigned_integer(std::uint64_t number);
  static CanonicalJson boolean(bool flag);
  static CanonicalJson null();
  static CanonicalJson real(double number);                  // written as the string of its 16 hex digits
  CanonicalJson& set(std::string key, CanonicalJson value);  // object; returns *this
  CanonicalJson& push(CanonicalJson value);                  // array; returns *this
  std::string text() const;

 private:
  std::string scalar_;
  std::vector<std::pair<std::string, CanonicalJson>> members_;
  std::vector<CanonicalJson> items_;
  int kind_ = 0;
};

}  // namespace shori
