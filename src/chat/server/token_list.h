// Lists of token ids in requests.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shori/util/json.h"

namespace shori {

// The ids of the list `value`, the field `name`. RequestError 400 unless each is a whole number from 0 to vocab_size - 1.
std::vector<std::int32_t> read_token_ids(const JsonValue& value, std::string_view name, std::int64_t vocab_size);

}  // namespace shori
