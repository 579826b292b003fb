// Reading the fields of a request's JSON object. A field that is missing or null has its default. One of another type or
// outside its range is refused with its name; fields that nobody asks for are ignored, as the servers whose interfaces
// these are do.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/json.h"

namespace shori {

// The object in `body`. RequestError 400 for invalid UTF-8, invalid JSON, and JSON that is no object.
JsonValue parse_request_body(std::string_view body);

// Names of one setting, the first that is present counts. All that are present are checked.
using FieldNames = std::initializer_list<std::string_view>;

class RequestFields {
 public:
  explicit RequestFields(const JsonValue& object) : object_(object) {}

  // The field, or nullptr where it is missing or null.
  const JsonValue* find(std::string_view name) const;

  std::optional<std::int64_t> integer(FieldNames names, std::int64_t least, std::int64_t most) const;
  std::optional<float> number(FieldNames names) const;  // finite as a float
  std::optional<bool> boolean(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;

 private:
  const JsonValue& object_;
};

// The error of a field: "`n`: has to be a whole number from 1 to 8".
[[noreturn]] void refuse_field(std::string_view name, std::string_view demand);

}  // namespace shori
