// Which linears an adapter_config.json names, by the rules of PEFT (peft.tuners.tuners_utils.check_target_module_exists).
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/json.h"

namespace shori {

// `target_modules` or `exclude_modules`: a list of names, each the end of a module's name at a dot (`q_proj`,
// `self_attn.q_proj`, `model.layers.0.self_attn.q_proj`); `all-linear`; or a regular expression for the whole name.
class ModulePattern {
 public:
  // Throws std::regex_error, or std::invalid_argument, for an expression that is not evaluated here: one with syntax of
  // Python alone, of more than 4,096 bytes, or with more than 200 groups.
  explicit ModulePattern(const JsonValue* value);

  // `module` is a name within the base, as "model.layers.0.self_attn.q_proj".
  bool matches(const std::string& module) const;

 private:
  bool all_linear_ = false;
  std::vector<std::string> names_;
  std::optional<std::regex> expression_;
};

}  // namespace shori
