// The stages that categories of data make with rates `a -> b -> c`.
#pragma once

#include <string>
#include <vector>

#include "src/config/settings.h"

namespace shori {

// The categories of the entries in the order in which they are trained: that of `order` (the key `category_order`, may
// be null); else that of kCategories if all are of it; else that of their first entries, which `note` then says. E0107 if
// `order` does not name each of them once.
std::vector<std::string> ordered_categories(const DatasetList& entries, const Setting* order, std::string& note,
                                            Diagnostics& diagnostics);

}  // namespace shori
