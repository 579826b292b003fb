#include "src/chat/server/request_fields.h"

#include <cmath>

#include "shori/util/text.h"
#include "src/chat/server/http/request_error.h"

namespace shori {
namespace {

// The tree of a body takes up to 200 bytes a value.
constexpr JsonLimits kLimits{.bytes = 16u << 20, .depth = 16, .values = 200'000};

[[noreturn]] void refuse_body(std::string message) { throw RequestError{.message = std::move(message)}; }

// Clients in Python and JavaScript write whole numbers as 5.0, too.
std::optional<std::int64_t> whole_number(const JsonValue& value) {
  if (value.kind != JsonValue::Kind::kNumber) return std::nullopt;
  if (const auto integer = value.as_integer()) return integer;
  const auto number = value.as_double();
  if (!number || std::trunc(*number) != *number || std::abs(*number) > 9.0e15) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

template <typename Value, typename Read>
std::optional<Value> first_of(const RequestFields& fields, FieldNames names, const Read& read) {
  std::optional<Value> first;
  for (const std::string_view name : names) {
    const JsonValue* field = fields.find(name);
    if (!field) continue;
    const Value value = read(name, *field);
    if (!first) first = value;
  }
  return first;
}

}  // namespace

JsonValue parse_request_body(std::string_view body) {
  JsonProblem problem;
  JsonRepairs repairs{.drops_nul = true};  // SillyTavern's texts have halves of surrogate pairs where it cut them
  auto value = parse_json(body, kLimits, problem, &repairs);
  if (!value) refuse_body(concat("the body is not valid JSON: ", problem.message, " at byte ", problem.offset));
  if (!value->is_object()) refuse_body("the body has to be a JSON object");
  return std::move(*value);
}

void refuse_field(std::string_view name, std::string_view demand) {
  throw RequestError{.message = concat("`", name, "`: ", demand), .field = std::string(name)};
}

const JsonValue* RequestFields::find(std::string_view name) const {
  const JsonValue* field = object_.find(name);
  return field && !field->is_null() ? field : nullptr;
}

std::optional<std::int64_t> RequestFields::integer(FieldNames names, std::int64_t least, std::int64_t most) const {
  return first_of<std::int64_t>(*this, names, [&](std::string_view name, const JsonValue& field) {
    const auto value = whole_number(field);
    if (!value || *value < least || *value > most)
      refuse_field(name, concat("has to be a whole number from ", least, " to ", most));
    return *value;
  });
}

std::optional<float> RequestFields::number(FieldNames names) const {
  return first_of<float>(*this, names, [](std::string_view name, const JsonValue& field) {
    const auto value = field.kind == JsonValue::Kind::kNumber ? field.as_double() : std::nullopt;
    if (!value || !std::isfinite(static_cast<float>(*value))) refuse_field(name, "has to be a number");
    return static_cast<float>(*value);
  });
}

std::optional<bool> RequestFields::boolean(std::string_view name) const {
  const JsonValue* field = find(name);
  if (!field) return std::nullopt;
  if (field->kind != JsonValue::Kind::kBool) refuse_field(name, "has to be true or false");
  return field->boolean;
}

std::optional<std::string> RequestFields::text(std::string_view name) const {
  const JsonValue* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_string()) refuse_field(name, "has to be a string");
  return field->text;
}

}  // namespace shori
