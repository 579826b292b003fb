// What BlockML needs of a tokenizer.
#pragma once

#include <string>

#include "shori/data/tokenizer_model.h"

namespace shori {

// Sets the ids of ▀, ▄, the newline and the space. Throws Error E0206 if a text of BlockML would not keep what it means:
// a mark is not exactly one token, white space changes, or a character has no id.
void find_blockml_pieces(TokenizerModel& model, const std::string& name);

}  // namespace shori
