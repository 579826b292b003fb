// Strict JSON (RFC 8259) with an explicit stack instead of recursion.
//
// nlohmann's SAX interface, whose tree json_text.cpp prints, is not used for reading. Its lexer copies every byte into
// two buffers: with a handler that does nothing it reads JSONL of long texts at a sixth of this reader's speed
// (tests/bench/json_bench.cpp). Its events also carry no position, while messages name the column of the value that is
// wrong; it takes a NUL for the end of the text; and it refuses numbers beyond the range of a double, which are kept as
// text here.
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "shori/util/json.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

class Parser {
 public:
  Parser(std::string_view text, const JsonLimits& limits, JsonProblem& problem, JsonRepairs* repairs)
      : text_(text), limits_(limits), problem_(problem), repairs_(repairs) {}

  bool parse(JsonValue& root) {
    if (!text_fits()) return false;
    if (!value(root)) return false;
    while (!open_.empty())
      if (!next_item()) return false;
    skip_space();
    return at_end() || fail("expected the end of the text after the value");
  }

 private:
  // An array or object whose end has not been read yet.
  struct Open {
    JsonValue* value;
    std::unordered_set<std::string> keys;
    bool first = true;
  };

  bool fail(std::string message) { return fail_at(at_, std::move(message)); }
  bool fail_at(std::size_t offset, std::string message) {
    problem_ = {std::move(message), offset, false};
    return false;
  }

  bool text_fits() {
    if (text_.size() > limits_.bytes)
      return fail(concat("the text has ", text_.size(), " bytes, the limit is ", limits_.bytes));
    if (text_.starts_with(kByteOrderMark)) return fail("there is a byte order mark before the value");
    if (const auto bad = find_invalid_utf8(text_)) return fail_at(*bad, "this byte is not UTF-8");
    return true;
  }

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }

  bool open(JsonValue& into, JsonValue::Kind kind) {
    if (static_cast<int>(open_.size()) >= limits_.depth)
      return fail(concat("nested deeper than ", limits_.depth, " levels"));
    ++at_;
    into.kind = kind;
    open_.push_back({&into, {}, true});
    return true;
  }

  // Reads a scalar, or the opening bracket of an array or object (its items follow by next_item).
  bool value(JsonValue& into) {
    skip_space();
    into.offset = at_;
    if (++values_ > limits_.values) return fail(concat("more than ", limits_.values, " values"));
    switch (peek()) {
      case '{':
        return open(into, JsonValue::Kind::kObject);
      case '[':
        return open(into, JsonValue::Kind::kArray);
      case '"':
        into.kind = JsonValue::Kind::kString;
        return string(into.text);
      default:
        return word_or_number(into);
    }
  }

  bool word_or_number(JsonValue& into) {
    if (take_word("null")) return true;
    if (take_word("true")) {
      into.kind = JsonValue::Kind::kBool;
      into.boolean = true;
      return true;
    }
    if (take_word("false")) {
      into.kind = JsonValue::Kind::kBool;
      return true;
    }
    into.kind = JsonValue::Kind::kNumber;
    return number(into.text);
  }

  // One more item of the innermost open array or object, or its end.
  bool next_item() {
    JsonValue& parent = *open_.back().value;
    const bool is_object = parent.is_object();
    skip_space();
    if (take(is_object ? '}' : ']')) {
      open_.pop_back();
      return true;
    }
    if (!open_.back().first && !take(',')) return fail(is_object ? "expected `,` or `}`" : "expected `,` or `]`");
    open_.back().first = false;
    return is_object ? member(parent) : value(parent.items.emplace_back());
  }

  bool member(JsonValue& parent) {
    skip_space();
    const std::size_t key_offset = at_;
    if (peek() != '"') return fail("expected a key in double quotes");
    std::string key;
    if (!string(key)) return false;
    if (!open_.back().keys.insert(key).second) {
      problem_ = {concat("key `", escape_for_log(key), "` is given twice"), key_offset, true};
      return false;
    }
    skip_space();
    if (!take(':')) return fail("expected `:`");
    JsonValue& child = parent.members.emplace_back(std::move(key), JsonValue{}).second;
    child.key_offset = key_offset;
    return value(child);
  }

  bool string(std::string& into) {
    const std::size_t begin = at_++;
    while (true) {
      const std::size_t run = at_;  // bytes that stand for themselves
      while (!at_end() && peek() != '"' && peek() != '\\' && static_cast<unsigned char>(peek()) >= 0x20) ++at_;
      into.append(text_.substr(run, at_ - run));
      if (at_end()) return fail_at(begin, "this string is not closed");
      if (take('"')) return true;
      if (peek() != '\\') return fail("a control character in a string must be escaped");
      if (!escape(into)) return false;
    }
  }

  bool escape(std::string& into) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    const std::size_t begin = at_++;
    const std::size_t which = at_end() ? std::string_view::npos : kNames.find(peek());
    if (which != std::string_view::npos) {
      ++at_;
      into += kValues[which];
      return true;
    }
    if (!take('u')) return fail_at(begin, "unknown escape sequence");
    return unicode_escape(begin, into);
  }

  bool unicode_escape(std::size_t begin, std::string& into) {
    std::uint32_t value = 0, low = 0;
    if (!hex4(value)) return fail_at(begin, "expected four hex digits after `\\u`");
    if (value == 0) return nul_escape(begin);
    if (value >= 0xd800 && value < 0xe000) {
      const std::size_t next = at_;
      const bool pair = value < 0xdc00 && take_word("\\u") && hex4(low) && low >= 0xdc00 && low < 0xe000;
      if (!pair) return half_escape(begin, next);
      value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(into, value);
    return true;
  }

  bool nul_escape(std::size_t begin) {
    if (repairs_ == nullptr || !repairs_->drops_nul) return fail_at(begin, "a string must not contain NUL");
    ++repairs_->nuls;
    return true;
  }

  // `next`: after the escape, where reading goes on.
  bool half_escape(std::size_t begin, std::size_t next) {
    if (repairs_ == nullptr) return fail_at(begin, "half of a surrogate pair");
    ++repairs_->halves;
    at_ = next;
    return true;
  }

  bool hex4(std::uint32_t& value) {
    if (text_.size() - at_ < 4) return false;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
    if (result.ec != std::errc() || result.ptr != text_.data() + at_ + 4) return false;
    at_ += 4;
    return true;
  }

  bool digits() {
    const std::size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > begin;
  }

  bool number(std::string& into) {
    const std::size_t begin = at_;
    take('-');
    const bool leading_zero = peek() == '0';
    const std::size_t first_digit = at_;
    if (!digits()) return fail_at(begin, "expected a value");
    if (leading_zero && at_ > first_digit + 1) return fail_at(begin, "a number must not begin with an unneeded zero");
    if (take('.') && !digits()) return fail("expected a digit after the point");
    if (take('e') || take('E')) {
      if (!take('-')) take('+');
      if (!digits()) return fail("expected a digit in the exponent");
    }
    into = text_.substr(begin, at_ - begin);
    return true;
  }

  std::string_view text_;
  const JsonLimits& limits_;
  JsonProblem& problem_;
  JsonRepairs* repairs_;
  std::vector<Open> open_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

template <typename T>
std::optional<T> whole_number(const JsonValue& value) {
  T result{};
  if (value.kind != JsonValue::Kind::kNumber) return std::nullopt;
  const char* end = value.text.data() + value.text.size();
  const auto parsed = std::from_chars(value.text.data(), end, result);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return result;
}

}  // namespace

JsonValue::JsonValue() = default;
JsonValue::JsonValue(const JsonValue& other) = default;
JsonValue::JsonValue(JsonValue&& other) noexcept = default;
JsonValue& JsonValue::operator=(const JsonValue& other) = default;
JsonValue& JsonValue::operator=(JsonValue&& other) noexcept = default;
JsonValue::~JsonValue() = default;

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const auto& member : members)
    if (member.first == key) return &member.second;
  return nullptr;
}

std::optional<std::uint64_t> JsonValue::as_unsigned() const { return whole_number<std::uint64_t>(*this); }

std::optional<std::int64_t> JsonValue::as_integer() const { return whole_number<std::int64_t>(*this); }

std::optional<double> JsonValue::as_double() const {
  const auto number = whole_number<double>(*this);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<JsonValue> parse_json(std::string_view text, const JsonLimits& limits, JsonProblem& problem,
                                    JsonRepairs* repairs) {
  JsonValue root;
  if (!Parser(text, limits, problem, repairs).parse(root)) return std::nullopt;
  return root;
}

}  // namespace shori
