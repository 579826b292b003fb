// Diagnostics about a position in a text that is a file or a member of a JSONL line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "shori/data/blockml.h"
#include "src/data/blockml/text_cursor.h"

namespace shori {

// "12:3", or "text 12:3" inside a JSONL line.
std::string position_text(const TextSource& source, const TextCursor& cursor);

// The problem with its location, which is the cursor's; the caret covers `code_points`.
Diagnostic text_problem(Diagnostic problem, const TextSource& source, const TextCursor& cursor,
                        std::size_t code_points = 1);

// The start of the code point that holds byte `offset`.
std::size_t code_point_start(std::string_view text, std::size_t offset);

}  // namespace shori
