#include "src/data/sources/find_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/sources/glob.h"
#include "src/data/sources/recognize.h"
#include "src/data/sources/remote_paths.h"

namespace shori {
namespace {

constexpr std::string_view kRatingsFile = "ratings.yaml";  // about conversations, holds none

bool has_extension(std::string_view path, std::string_view extension) { return path.ends_with(extension); }

bool is_yaml(std::string_view path) { return has_extension(path, ".yaml") || has_extension(path, ".yml"); }

bool type_reads(DataType type, std::string_view path) {
  if (type == DataType::kBlockml) return has_extension(path, ".blockml") || has_extension(path, ".txt");
  if (type == DataType::kBlockmlYaml) return is_yaml(path);
  if (type == DataType::kCompletion) return has_extension(path, ".jsonl") || has_extension(path, ".txt");
  return has_extension(path, ".jsonl");
}

std::optional<DataType> type_by_extension(std::string_view path) {
  if (has_extension(path, ".blockml") || has_extension(path, ".txt")) return DataType::kBlockml;
  if (has_extension(path, ".jsonl")) return DataType::kBlockmlJsonl;
  if (is_yaml(path)) return DataType::kBlockmlYaml;
  return std::nullopt;
}

Diagnostic entry_problem(const DataEntry& entry, const std::string& message) {
  return Diagnostic("E0315", message).at(entry.location);
}

// The entry's type; nullopt with `known` true: by the extension of each file.
std::optional<DataType> type_of_entry(const DataEntry& entry, bool& known, Diagnostics& diagnostics) {
  known = true;
  if (entry.type.empty()) return std::nullopt;
  if (const std::optional<DataType> type = find_word<DataType>(entry.type)) return type;
  known = false;
  diagnostics.add(Diagnostic("E0104", "unknown type `" + escape_for_log(entry.type) + "`")
                      .at(entry.location)
                      .note("types: " + join_words(kWords<DataType>))
                      .help("set `type` to one of them, or leave it out"));
  return std::nullopt;
}

struct Walk {
  std::vector<FoundFile>& found;
  std::vector<std::string>& skipped;
  std::optional<DataType> type;
  bool in_config;
};

// The path of a file or folder in messages.
std::string shown_path(bool in_config, const std::string& full_path, const std::string& path) {
  return in_config ? std::filesystem::path(full_path).lexically_normal().string() : path;
}

void add_file(Walk& walk, const std::string& full_path, const std::string& path, bool named_by_user) {
  if (!named_by_user && file_name(path) == kRatingsFile) return;
  const std::optional<DataType> type = walk.type ? walk.type : type_by_extension(path);
  if (!type || (!named_by_user && !type_reads(*type, path))) {
    walk.skipped.push_back(shown_path(walk.in_config, full_path, path));
    return;
  }
  const bool lines = *type == DataType::kBlockmlJsonl || *type == DataType::kTokenized ||
                     (*type == DataType::kCompletion && has_extension(path, ".jsonl"));
  walk.found.push_back({full_path, path, shown_path(walk.in_config, full_path, path), *type, lines});
}

// Iterative, so that no depth of folders can exhaust the stack.
void add_folder(Walk& walk, const std::string& full_path, const std::string& path) {
  std::vector<std::pair<std::string, std::string>> folders = {{full_path, path}};
  while (!folders.empty()) {
    const auto [full, shown] = folders.back();
    folders.pop_back();
    for (const std::string& name : list_directory(full)) {
      if (is_hidden_name(name)) continue;
      const std::string child = join_path(full, name), child_shown = join_path(shown, name);
      if (!is_directory(child)) {
        add_file(walk, child, child_shown, false);
      } else if (is_symlink(child)) {
        walk.skipped.push_back(shown_path(walk.in_config, child, child_shown) + "/");
      } else {
        folders.emplace_back(child, child_shown);
      }
    }
  }
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0 && path.substr(0, slash) != ".") parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

bool has_wildcard(std::string_view part) { return part.find_first_of("*?[") != std::string_view::npos; }

// A path with wildcards: the folder that it begins with, and the parts below it. Parts that exist as they are written are
// no pattern, so that a folder named `[old]` can hold data.
struct GlobPath {
  std::string base;
  std::vector<std::string> pattern;
};

GlobPath split_glob(const std::string& path) {
  GlobPath glob{path.starts_with('/') ? "/" : "", {}};
  for (const std::string& part : split_path(path)) {
    const std::string next = join_path(glob.base, part);
    if (glob.pattern.empty() && (!has_wildcard(part) || path_exists(next))) {
      glob.base = next;
    } else {
      glob.pattern.push_back(part);
    }
  }
  return glob;
}

// `path` without its last `count` parts.
std::string without_last(const std::string& path, std::size_t count) {
  const std::vector<std::string> parts = split_path(path);
  std::string shorter = path.starts_with('/') ? "/" : "";
  for (std::size_t i = 0; i + count < parts.size(); ++i) shorter = join_path(shorter, parts[i]);
  return shorter;
}

struct GlobState {
  std::string full, shown;
  std::size_t part;  // next part of the pattern
};

std::string join_shown(const std::string& shown, const std::string& name) {
  return shown.empty() ? name : join_path(shown, name);
}

// The states that follow when `state` steps down to its entry `name`.
void step_glob(Walk& walk, const std::vector<std::string>& parts, const GlobState& state, const std::string& name,
               std::vector<GlobState>& next) {
  const std::string& part = parts[state.part];
  const std::string full = join_path(state.full, name), shown = join_shown(state.shown, name);
  const bool last = state.part + 1 == parts.size();
  if (part == "**") {
    if (is_hidden_name(name)) return;
    if (!is_directory(full)) {
      if (last) add_file(walk, full, shown, true);
    } else if (is_symlink(full)) {
      walk.skipped.push_back(shown_path(walk.in_config, full, shown) + "/");
    } else {
      next.push_back({full, shown, state.part});
    }
    return;
  }
  if (!matches_glob(part, name)) return;
  if (!last) {
    if (is_directory(full)) next.push_back({full, shown, state.part + 1});
  } else if (!is_directory(full)) {
    add_file(walk, full, shown, true);
  }
}

void add_glob(Walk& walk, const DataEntry& entry) {
  const auto [base, parts] = split_glob(entry.resolved_path);
  const std::string start = base.empty() ? "." : base;
  if (parts.empty() || !is_directory(start)) return;
  std::vector<GlobState> states = {{start, without_last(entry.path, parts.size()), 0}};
  while (!states.empty()) {
    const GlobState state = states.back();
    states.pop_back();
    // ** may also stand for no folder at all.
    if (parts[state.part] == "**" && state.part + 1 < parts.size())
      states.push_back({state.full, state.shown, state.part + 1});
    for (const std::string& name : list_directory(state.full)) step_glob(walk, parts, state, name, states);
  }
}

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

// The files of one path, a file, a folder or a glob.
void add_path(Walk& walk, const DataEntry& entry) {
  const std::string full = without_trailing_slash(entry.resolved_path), shown = without_trailing_slash(entry.path);
  if (is_directory(full)) {
    add_folder(walk, full, shown);
  } else if (path_exists(full)) {
    add_file(walk, full, shown, true);
  } else if (has_wildcard(full)) {
    add_glob(walk, entry);
  }
}

// The entry for each of the paths that its braces stand for; the entry itself where there are none.
std::vector<DataEntry> expand_entry(const DataEntry& entry) {
  const std::vector<std::string> paths = expand_braces(entry.path), resolved = expand_braces(entry.resolved_path);
  if (path_exists(without_trailing_slash(entry.resolved_path)) || paths.size() != resolved.size()) return {entry};
  std::vector<DataEntry> entries(paths.size(), entry);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    entries[i].path = paths[i];
    entries[i].resolved_path = resolved[i];
  }
  return entries;
}

// Quotation marks that word processors write are part of a value in YAML.
std::string note_about_quotes(const std::string& path) {
  constexpr std::array<std::string_view, 5> kQuotes = {"“", "”", "„", "‘", "’"};
  const auto begins = [&](std::string_view quote) { return path.starts_with(quote); };
  const auto ends = [&](std::string_view quote) { return path.ends_with(quote); };
  const auto first = std::ranges::find_if(kQuotes, begins);
  const auto quote = first != kQuotes.end() ? first : std::ranges::find_if(kQuotes, ends);
  if (quote == kQuotes.end()) return "";
  return concat("the quotation mark `", *quote, "` is part of the path: write `\"` or no quotes");
}

std::string note_about_braces(const std::string& path) {
  if (path.find("${") == std::string::npos && path.find('{') != std::string::npos && expand_braces(path).size() == 1)
    return "`{a,b}` stands for two paths; other braces, such as `{1..3}`, stand for themselves";
  return "";
}

// Whether the config has reported that this path cannot be expanded.
bool is_reported(const DataEntry& entry, const Diagnostics& diagnostics) {
  const bool any = std::any_of(diagnostics.all().begin(), diagnostics.all().end(),
                               [](const Diagnostic& each) { return each.code == "E0118"; });
  return any && !expand_user_path(entry.path).problem.empty();
}

// What to do about a file in a form that no type reads; nullopt for others and for folders.
std::optional<Diagnostic> form_problem(const std::string& path) {
  if (!path_exists(path) || is_directory(path)) return std::nullopt;
  return refuse_file_form(InputFile::open(path), path);
}

Diagnostic no_file(const DataEntry& entry, const std::vector<std::string>& skipped, std::size_t skipped_before) {
  Diagnostic problem = entry_problem(entry, "`datasets` matches no file: " + escape_for_log(entry.path));
  if (skipped.size() > skipped_before) {
    if (auto refused = form_problem(skipped[skipped_before])) return *std::move(refused);
    problem.note("found, but of another kind: " + escape_for_log(skipped[skipped_before]))
        .note("types: " + join_words(kWords<DataType>));
    const std::string& path = entry.resolved_path;
    const bool single = path_exists(path) && !is_directory(path);
    const FileKind kind = single ? recognize_file(InputFile::open(path), path) : FileKind::kUnknown;
    const std::string word(import_word(kind));
    if (!word.empty()) problem.note(concat("it is ", file_kind_name(kind)));
    problem.help(word.empty() ? "set `type` for this entry"
                              : import_command(kind, shown_path(entry.in_config, path, entry.path)));
  } else if (!add_download_help(problem, entry)) {
    problem.note("looked for " + escape_for_log(entry.resolved_path, 400))
        .help("write the path relative to the config file");
  }
  if (const std::string quotes = note_about_quotes(entry.path); !quotes.empty()) problem.note(quotes);
  if (const std::string braces = note_about_braces(entry.path); !braces.empty()) problem.note(braces);
  return problem;
}

}  // namespace

std::vector<FoundFile> find_data_files(const DataEntry& entry, std::vector<std::string>& skipped,
                                       Diagnostics& diagnostics) {
  bool known = true;
  const std::optional<DataType> type = type_of_entry(entry, known, diagnostics);
  std::vector<FoundFile> found;
  if (!known || is_reported(entry, diagnostics)) return found;
  Walk walk{found, skipped, type, entry.in_config};
  const std::size_t skipped_before = skipped.size();
  const std::vector<DataEntry> entries = expand_entry(entry);
  for (const DataEntry& part : entries) {
    const std::size_t found_before = found.size();
    add_path(walk, part);
    const bool missing = found.size() == found_before && !has_wildcard(part.resolved_path);
    if (missing && entries.size() > 1) diagnostics.add(no_file(part, skipped, skipped_before));
  }
  std::sort(found.begin(), found.end(), [](const FoundFile& a, const FoundFile& b) { return a.path < b.path; });
  found.erase(std::unique(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.path == b.path; }),
              found.end());
  if (found.empty() && (entries.size() == 1 || has_wildcard(entry.resolved_path)))
    diagnostics.add(no_file(entry, skipped, skipped_before));
  return found;
}

}  // namespace shori
