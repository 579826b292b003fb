// The patterns that the paths of `datasets` may have: wildcards of one name, and braces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// The paths that a path with braces stands for, as a shell makes them: `a/{b,c}` is `a/b` and `a/c`, nested braces too.
// Braces without a comma stand for themselves. At most 1000 paths; a text that stands for more is returned as it is.
std::vector<std::string> expand_braces(const std::string& path);

inline bool is_hidden_name(std::string_view name) { return name.starts_with('.'); }

// Does `name` (no '/') match a pattern of literal characters, *, ? and classes in brackets?
bool matches_glob(std::string_view pattern, std::string_view name);

}  // namespace shori
