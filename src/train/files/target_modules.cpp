#include "src/train/files/target_modules.h"

#include <algorithm>
#include <stdexcept>

#include "shori/util/text.h"

namespace shori {
namespace {

// Of the library's two ways of matching, the one whose time does not grow exponentially with the expression.
std::regex safe_expression(const std::string& text) {
  constexpr std::size_t kMaxBytes = 4096, kMaxGroups = 200;
  if (text.size() > kMaxBytes || std::count(text.begin(), text.end(), '(') > static_cast<std::ptrdiff_t>(kMaxGroups))
    throw std::invalid_argument("the expression is too large");
  return std::regex(text, std::regex::ECMAScript | std::regex_constants::__polynomial);
}

}  // namespace

ModulePattern::ModulePattern(const JsonValue* value) {
  if (value == nullptr) return;
  if (value->is_array()) {
    for (const JsonValue& item : value->items)
      if (item.is_string()) names_.push_back(item.text);
  } else if (value->is_string()) {
    all_linear_ = lower_ascii(value->text) == "all-linear";
    if (!all_linear_) expression_ = safe_expression(value->text);
  }
}

bool ModulePattern::matches(const std::string& module) const {
  if (all_linear_) return true;
  if (expression_) return std::regex_match(module, *expression_);
  return std::any_of(names_.begin(), names_.end(),
                     [&](const std::string& name) { return module == name || module.ends_with("." + name); });
}

}  // namespace shori
