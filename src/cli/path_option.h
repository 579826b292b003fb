// Options that take paths: `~`, `~user`, `$NAME` and `${NAME}` mean what they mean to a shell, which leaves them alone in
// quotes and after `=`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace shori {

// Expands what is given to the option. Throws E0118 for what cannot be expanded; a file of the name as given is taken as
// it is.
CLI::Option* as_path(CLI::Option* option);

// The same for a path from elsewhere; `what` names it in the message.
std::string expanded_path(const std::string& given, const std::string& what);

}  // namespace shori
