// How finished runs went, as a table of text.
#pragma once

#include <string>
#include <vector>

namespace shori {

// A header and a row for each run folder: stage, steps, tokens, first and last loss, best evaluation, time. At most 80
// columns where names are short.
std::string summary_table(const std::vector<std::string>& folders);

}  // namespace shori
