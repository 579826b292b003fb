#include "src/config/category_order.h"

#include <algorithm>

#include "shori/util/text.h"

namespace shori {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// In the order of their first entries.
std::vector<std::string> categories_of(const DatasetList& entries) {
  std::vector<std::string> categories;
  for (const DataEntry& entry : entries)
    if (!entry.category.empty() && !contains(categories, entry.category)) categories.push_back(entry.category);
  return categories;
}

std::vector<std::string> without(const std::vector<std::string>& names, const std::vector<std::string>& others) {
  std::vector<std::string> rest;
  for (const std::string& name : names)
    if (!contains(others, name)) rest.push_back(name);
  return rest;
}

// A name that stands twice is refused where the list is read.
void check_order(const Setting& setting, const std::vector<std::string>& order,
                 const std::vector<std::string>& categories, Diagnostics& diagnostics) {
  const std::vector<std::string> missing = without(categories, order), unknown = without(order, categories);
  if (missing.empty() && unknown.empty()) return;
  Diagnostic problem("E0107", "`category_order` must name every category of `datasets` once");
  problem.at(setting.key_location());
  if (!missing.empty()) problem.note("not in the list: " + join_words(missing));
  if (!unknown.empty()) problem.note("no entry has the category: " + join_words(unknown));
  diagnostics.add(std::move(problem.help(concat("category_order: [", join_words(categories), "]"))));
}

}  // namespace

std::vector<std::string> ordered_categories(const DatasetList& entries, const Setting* order, std::string& note,
                                            Diagnostics& diagnostics) {
  const std::vector<std::string> categories = categories_of(entries);
  std::vector<std::string> names(kCategories.begin(), kCategories.end());
  if (order != nullptr && order->value.kind != YamlNode::Kind::kNull) {
    names.clear();
    for (const YamlNode& item : order->value.items) names.push_back(item.text);
    check_order(*order, names, categories, diagnostics);
  } else if (!without(categories, names).empty()) {
    note = concat("stages in the order in which `datasets` names their categories: ", join_words(categories),
                  " (another order: `category_order: [...]`)");
    return categories;
  }
  std::erase_if(names, [&](const std::string& name) { return !contains(categories, name); });
  return names;
}

}  // namespace shori
