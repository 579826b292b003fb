#include "shori/util/user_path.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kPasswordEntryBytes = 16u << 10;

bool is_name_start(char c) { return c == '_' || (lower_ascii(c) >= 'a' && lower_ascii(c) <= 'z'); }
bool is_name_char(char c) { return is_name_start(c) || (c >= '0' && c <= '9'); }

std::string shown(std::string_view text) { return concat("`", escape_for_log(text, 400), "`"); }

// Length of the variable name at the start of `text`; 0 if there is none.
std::size_t name_length(std::string_view text) {
  if (text.empty() || !is_name_start(text.front())) return 0;
  std::size_t length = 1;
  while (length < text.size() && is_name_char(text[length])) ++length;
  return length;
}

// Appends the value of a variable, or `written` with a problem.
void append_variable(UserPath& into, std::string_view name, std::string_view written) {
  const char* value = std::getenv(std::string(name).c_str());
  const bool usable = value != nullptr && *value != '\0';
  if (!usable && into.problem.empty()) {
    into.problem = concat("the variable ", shown(name), value == nullptr ? " is not set" : " is empty");
  }
  into.path += usable ? std::string_view(value) : written;
  into.changed = into.changed || usable;
}

UserPath with_variables(std::string_view written) {
  UserPath expanded;
  for (std::size_t at = 0; at < written.size();) {
    const std::string_view rest = written.substr(at);
    const bool braced = rest.starts_with("${");
    const std::size_t start = braced ? 2 : 1;
    const std::size_t length = rest.front() == '$' ? name_length(rest.substr(std::min(start, rest.size()))) : 0;
    const bool closed = braced && start + length < rest.size() && rest[start + length] == '}';
    const std::size_t whole = start + length + (closed ? 1 : 0);
    if (length > 0 && braced == closed) {
      append_variable(expanded, rest.substr(start, length), rest.substr(0, whole));
      at += whole;
      continue;
    }
    if (braced && expanded.problem.empty()) {
      expanded.problem = concat(shown(rest.substr(0, rest.find('}') + 1)), " is not of the form `${NAME}`");
    }
    expanded.path += rest.front();
    ++at;
  }
  return expanded;
}

// The home folder of a user, or of the one who runs the program where `user` is empty.
std::optional<std::string> home_of(const std::string& user) {
  const char* home = std::getenv("HOME");
  if (user.empty() && home != nullptr && *home != '\0') return home;
  std::array<char, kPasswordEntryBytes> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (user.empty()) {
    getpwuid_r(getuid(), &entry, buffer.data(), buffer.size(), &found);
  } else {
    getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  }
  if (found == nullptr || found->pw_dir == nullptr || *found->pw_dir == '\0') return std::nullopt;
  return found->pw_dir;
}

void expand_home(UserPath& expanded) {
  if (!expanded.path.starts_with('~')) return;
  const std::size_t slash = std::min(expanded.path.find('/'), expanded.path.size());
  const std::string user = expanded.path.substr(1, slash - 1);
  const std::optional<std::string> home = home_of(user);
  if (!home) {
    if (!expanded.problem.empty()) return;
    expanded.problem = user.empty() ? "no home folder is known: the variable `HOME` is not set"
                                    : concat("there is no user ", shown(user), " with a home folder");
    return;
  }
  expanded.path = *home + expanded.path.substr(slash);
  expanded.changed = true;
}

// An earlier spelling mistake may have left a folder named `~`, which can still be read. None is made.
void refuse_tilde_folder(UserPath& expanded, const std::string& folder) {
  const std::string& path = expanded.path;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "~" && !path_exists(join_path(folder, path.substr(0, end)))) {
      expanded.problem = "`~` stands for the home folder only at the start of a path";
      return;
    }
    begin = end + 1;
  }
}

}  // namespace

UserPath expand_user_path(std::string_view written, const std::string& folder) {
  UserPath expanded = with_variables(written);
  expand_home(expanded);
  if (expanded.problem.empty()) refuse_tilde_folder(expanded, folder);
  const std::string literal(written);
  if (expanded.problem.empty() || !path_exists(join_path(folder, literal))) return expanded;
  return {literal, "", false};
}

std::string path_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return "";
  return expand_user_path(value).path;
}

}  // namespace shori
