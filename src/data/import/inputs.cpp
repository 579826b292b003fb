#include "src/data/import/inputs.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_set>

#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_stream.h"

namespace shori {
namespace {

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [path](std::string_view end) { return path.ends_with(end); });
}

bool reads(ImportSource source, std::string_view path) {
  switch (source) {
    case ImportSource::kLimarp:
      return ends_with_any(path, {".yaml", ".yml"});
    case ImportSource::kShareGpt:
    case ImportSource::kMessages:
      return ends_with_any(path, {".jsonl", ".json"});
    case ImportSource::kSillyTavern:
      return path.ends_with(".jsonl");
    case ImportSource::kText:
      return ends_with_any(path, {".blockml", ".txt"});
    case ImportSource::kPlain:
      return ends_with_any(path, {".txt", ".log", ".md"});
    case ImportSource::kAuto:
      return ends_with_any(path, {".yaml", ".yml", ".jsonl", ".json", ".blockml", ".txt", ".log", ".md"});
  }
  return false;
}

// Skips hidden files, links to folders and the output of imports.
void add_folder(const ImportOptions& options, const std::string& folder, std::vector<std::string>& files,
                std::vector<std::string>& others) {
  const std::string out = absolute_path(options.out);
  std::vector<std::string> folders = {folder};
  while (!folders.empty()) {
    const std::string current = folders.back();
    folders.pop_back();
    if (absolute_path(current) == out) continue;
    for (const std::string& name : list_directory(current)) {
      const std::string path = join_path(current, name);
      if (name.starts_with('.')) continue;
      if (!is_directory(path)) {
        (reads(options.source, name) ? files : others).push_back(path);
      } else if (!is_symlink(path)) {
        folders.push_back(path);
      }
    }
  }
}

}  // namespace

std::vector<std::string> find_import_files(const ImportOptions& options, std::vector<std::string>& others,
                                           Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& input : options.inputs) {
    const std::size_t before = files.size(), others_before = others.size();
    if (is_directory(input))
      add_folder(options, input, files, others);
    else if (path_exists(input))
      files.push_back(input);
    if (files.size() == before) {
      const std::string other = others.size() > others_before ? others[others_before] : "";
      const auto refused = other.empty() ? std::nullopt : refuse_file_form(InputFile::open(other), other);
      diagnostics.add(refused.value_or(Diagnostic("E0315", "no file to import: " + escape_for_log(input, 400))
                                           .help("name a file, or a folder that holds files of this kind")));
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  std::unordered_set<std::string> seen;
  std::erase_if(files, [&](const std::string& path) { return !seen.insert(absolute_path(path)).second; });
  return files;
}

std::optional<ImportSource> source_of(FileKind kind) { return find_word<ImportSource>(import_word(kind)); }

bool is_foreign(FileKind kind, ImportSource source) {
  if (kind == FileKind::kUnknown) return source == ImportSource::kAuto;
  const std::optional<ImportSource> own = source_of(kind);
  if (source == ImportSource::kAuto) return !own;
  const bool turns = source == ImportSource::kShareGpt || source == ImportSource::kMessages;
  if (turns && (own == ImportSource::kShareGpt || own == ImportSource::kMessages)) return false;
  // A log may be BlockML without its first block, and BlockML may be quoted in a log.
  if (source == ImportSource::kPlain)
    return kind == FileKind::kAlpaca || (own && own != ImportSource::kPlain && own != ImportSource::kText);
  return own != source;
}

Diagnostic foreign_problem(FileKind kind, const std::string& path) {
  Diagnostic problem("E0312", concat("this is ", file_kind_name(kind)));
  problem.at(path, 1, 1);
  if (!import_word(kind).empty()) return problem.help(concat("--from ", import_word(kind)));
  if (kind == FileKind::kCard || kind == FileKind::kLorebook)
    return problem.help(concat("give it with the chats: --cards ", shell_word(path)));
  if (kind == FileKind::kUnknown)
    return problem.help("name what it is: --from limarp, sharegpt, messages, sillytavern, text or plain");
  if (kind == FileKind::kAlpaca) return problem.help("it holds no conversations; leave it out");
  return problem.help("no import is needed: name it in a config, or `shori-data check` it");
}

}  // namespace shori
