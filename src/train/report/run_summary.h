// How finished runs went, as lines of text.
#pragma once

#include <string>
#include <vector>

namespace shori {

// A header and a row for each run folder: stage, steps, tokens, first and last loss, time, peak memory; at most 80 columns
// where names are short. Then the evaluations of each, by data set and role, with the step of the lowest loss, and the
// folders of the adapters.
std::string summary_table(const std::vector<std::string>& folders);

}  // namespace shori
