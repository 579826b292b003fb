// Rules for the content of a segment, whether it is read from BlockML or written in another form.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "shori/data/blockml.h"

namespace shori {

// `<s>`, `</s>` and `<unk>`: the first at or after `from`, or npos; the size of the one that `text` begins with, or 0;
// and E0308 for the one at `offset`, without a location. The note counts all that follow in `text`.
std::size_t find_special_token(std::string_view text, std::size_t from);
std::size_t special_token_size(std::string_view text);
Diagnostic special_token_problem(std::string_view text, std::size_t offset);

// E0317, without a location.
Diagnostic too_large(std::string message);
Diagnostic segment_too_large(Role role);

// The first problem of a segment that is not read from BlockML: what parse_blockml() would find in its rendering, that
// is E0304, E0308, E0309 or E0317. Positions are those in the body. Expects a body that is trimmed, not empty, and free
// of block marks, and of `[/INST]` in an instruction.
std::optional<Diagnostic> check_segment(const Segment& segment, const std::string& file);

}  // namespace shori
