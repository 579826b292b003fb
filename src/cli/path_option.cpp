#include "src/cli/path_option.h"

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"

namespace shori {

std::string expanded_path(const std::string& given, const std::string& what) {
  // A shell has expanded its globs already, so a name with `$` is that of a file.
  if (!given.starts_with('~') && path_exists(given)) return given;
  const UserPath path = expand_user_path(given);
  if (path.problem.empty()) return path.path;
  throw Error(Diagnostic("E0118", concat(what, ": ", path.problem))
                  .note("the path so far: " + escape_for_log(path.path, 400))
                  .help("write the path out, or set the variable before the program starts"));
}

CLI::Option* as_path(CLI::Option* option) {
  const std::string what = concat("`", option->get_name(), "`");
  return option->transform([what](const std::string& given) { return expanded_path(given, what); }, "");
}

}  // namespace shori
