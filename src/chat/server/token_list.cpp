#include "src/chat/server/token_list.h"

#include "shori/util/text.h"
#include "src/chat/server/request_fields.h"

namespace shori {

std::vector<std::int32_t> read_token_ids(const JsonValue& value, std::string_view name, std::int64_t vocab_size) {
  if (!value.is_array()) refuse_field(name, "has to be a list of token ids");
  std::vector<std::int32_t> ids;
  ids.reserve(value.items.size());
  for (const JsonValue& item : value.items) {
    const auto id = item.kind == JsonValue::Kind::kNumber ? item.as_integer() : std::nullopt;
    if (!id || *id < 0 || *id >= vocab_size)
      refuse_field(name, concat("item ", ids.size(), " is not a token id from 0 to ", vocab_size - 1));
    ids.push_back(static_cast<std::int32_t>(*id));
  }
  return ids;
}

}  // namespace shori
