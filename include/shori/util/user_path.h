// Paths as people write them: `~`, `~user`, `$NAME` and `${NAME}`, which a shell expands only where it sees them.
#pragma once

#include <string>
#include <string_view>

namespace shori {

struct UserPath {
  std::string path;      // what `written` stands for; as far as possible where there is a problem
  std::string problem;   // "the variable `MODELS` is not set"; empty: the path can be used
  bool changed = false;  // something was expanded
};

// Expands variables first, then `~` or `~user` at the start. Problems: a variable that is not set or empty, a form of
// `${...}` other than `${NAME}`, a user that does not exist, and a folder named `~` elsewhere in the path, which nobody
// wants to have. A `$` that no name follows stands for itself. A path that cannot be expanded but exists as it is
// written, relative to `folder`, is taken as written.
UserPath expand_user_path(std::string_view written, const std::string& folder = "");

// The value of an environment variable that holds a path, expanded by the same rules; empty if it is not set. What
// cannot be expanded stays as it is written.
std::string path_variable(const char* name);

}  // namespace shori
