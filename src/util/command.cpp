#include "shori/util/command.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

std::string& called_as() {
  static std::string path;
  return path;
}

bool is_plain(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return letter || static_cast<unsigned char>(c) >= 0x80 || std::string_view("_-./=:,+@%").find(c) != std::string::npos;
}

std::string in_single_quotes(std::string_view text) {
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'') {
      word += "'\\''";
    } else {
      word += c;
    }
  }
  return word + "'";
}

// Every byte that a terminal would not show as it is becomes an escape.
std::string in_ansi_quotes(std::string_view text) {
  std::string word = "$'";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      char escape[5];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      word += escape;
    } else {
      if (c == '\'' || c == '\\') word += '\\';
      word += c;
    }
  }
  return word + "'";
}

std::string target_of(const std::string& file) {
  std::error_code error;
  const std::string target = is_symlink(file) ? std::filesystem::canonical(file, error).string() : file;
  return error || target.empty() ? file : target;
}

// A name for the new content that no file has.
std::string new_name(const std::string& file) {
  std::string name = file + ".new";
  while (path_exists(name)) name += ".new";
  return name;
}

}  // namespace

std::string shell_word(std::string_view text) {
  if (escape_for_log(text, text.size()) != text) return in_ansi_quotes(text);
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), is_plain);
  return plain ? std::string(text) : in_single_quotes(text);
}

std::string shell_words(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_word(word);
  return line;
}

std::string rewrite_command(std::string_view command, const std::string& file, std::string_view filter) {
  const std::string target = target_of(file), word = shell_word(target), made = shell_word(new_name(target));
  const std::string pipe = filter.empty() ? "" : concat(" | ", filter);
  const std::string check = filter.empty() ? "" : concat(" && test -s ", made);
  return concat(command, ' ', word, pipe, " > ", made, check, " && mv ", made, ' ', word);
}

std::string sed_command(std::string_view script, const std::string& file) {
  return concat("sed -i ", script, ' ', shell_word(target_of(file)));
}

void set_called_as(std::string_view path) { called_as() = path; }

std::string program_command(std::string_view name) {
  const std::string& path = called_as();
  const std::size_t slash = path.rfind('/');
  const std::string_view own = std::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1);
  // A program of the tests is named after the one that it stands for.
  if (own.starts_with(name)) return shell_word(path);
  return shell_word(slash == std::string::npos ? std::string(name) : concat(path.substr(0, slash + 1), name));
}

}  // namespace shori
