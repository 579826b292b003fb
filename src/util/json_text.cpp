#include "shori/util/json_text.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "shori/util/error.h"

namespace shori {
namespace {

enum class Form { kPlain, kCanonical };

// nlohmann's text of a string, an integer, a boolean or null.
std::string scalar_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

class Printer {
 public:
  Printer(Form form, int indent) : form_(form), indent_(indent) {}

  void print(const Json& value) {
    switch (value.type()) {
      case Json::value_t::object:
        return print_object(value.get_ref<const Json::object_t&>());
      case Json::value_t::array:
        return print_items('[', ']', value, [this](const Json& item) { print(item); });
      case Json::value_t::number_float:
        return print_double(value.get<double>());
      case Json::value_t::binary:  // see raw_json()
        text_.append(value.get_binary().begin(), value.get_binary().end());
        return;
      default:
        text_ += scalar_text(value);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  using Member = Json::object_t::value_type;

  void print_object(const Json::object_t& object) {
    std::vector<const Member*> members;
    for (const Member& member : object) members.push_back(&member);
    if (form_ == Form::kCanonical)
      std::ranges::sort(members, {}, [](const Member* member) -> const std::string& { return member->first; });
    print_items('{', '}', members, [this](const Member* member) {
      text_ += scalar_text(member->first) + (indent_ > 0 ? ": " : ":");
      print(member->second);
    });
  }

  void print_double(double number) {
    text_ += form_ == Form::kCanonical ? '"' + double_bits_hex(number) + '"' : format_double(number);
  }

  template <typename Items, typename PrintItem>
  void print_items(char open, char close, const Items& items, PrintItem print_item) {
    text_ += open;
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!std::exchange(first, false)) text_ += ',';
      start_line();
      print_item(item);
    }
    --depth_;
    if (!first) start_line();
    text_ += close;
  }

  void start_line() {
    if (indent_ > 0) text_.append(1, '\n').append(static_cast<std::size_t>(depth_ * indent_), ' ');
  }

  std::string text_;
  Form form_;
  int indent_;
  int depth_ = 0;
};

std::string print(const Json& value, Form form, int indent) {
  Printer printer(form, indent);
  printer.print(value);
  return printer.take();
}

}  // namespace

std::string json_text(const Json& value, int indent) { return print(value, Form::kPlain, indent); }

std::string canonical_json(const Json& value) { return print(value, Form::kCanonical, 0); }

Json text_or_null(std::string_view text) { return text.empty() ? Json() : Json(text); }

// Binary is the one kind of nlohmann's values that JSON has no form for.
Json raw_json(std::string_view text) { return Json::binary({text.begin(), text.end()}); }

std::string json_quote(std::string_view text) { return scalar_text(Json(text)); }

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

}  // namespace shori
