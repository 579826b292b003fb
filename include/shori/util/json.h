// Reading JSON strictly, with limits and positions. Writing is json_text.h.
//
// Refused: a key given twice, depth or size beyond the limits, invalid UTF-8, half a surrogate pair, NUL, a byte order
// mark, anything but white space after the value. The reader does not recurse, so depth costs no stack.
#pragma once

#include <cstddef>
#include <cstdint>
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

// What is left out of strings instead of being a violation, and how often that happened. Programs that cut texts by
// UTF-16 units write halves of surrogate pairs.
struct JsonRepairs {
  bool drops_nul = false;  // halves of surrogate pairs are always dropped
  std::size_t halves = 0, nuls = 0;
};

// Returns nullopt and fills `problem` on any violation.
std::optional<JsonValue> parse_json(std::string_view text, const JsonLimits& limits, JsonProblem& problem,
                                    JsonRepairs* repairs = nullptr);

}  // namespace shori
