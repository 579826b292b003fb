// Rates `a -> b -> c` as the value of `learning_rate`: one for each stage that the categories of the data make.
#pragma once

#include <string>
#include <vector>

#include "src/config/settings.h"

namespace shori {

bool has_arrow(const Setting* setting);

// One setting per rate, each with its own location.
std::vector<Setting> split_rates(const Setting& rates);

// E0107: the arrow form in a recipe with `stages`.
Diagnostic arrow_beside_stages(const Setting& rates);
// E0107: `--set` with one rate for a file that has several.
Diagnostic one_rate_for_an_arrow(const Setting& rate);
// E0107: more rates than categories.
Diagnostic too_many_rates(const Setting& arrow, const std::vector<Setting>& rates,
                          const std::vector<std::string>& categories);
// What is said where there are fewer rates than categories.
std::string repeated_rate_note(const Setting& arrow, const std::vector<Setting>& rates,
                               const std::vector<std::string>& categories);

}  // namespace shori
