// Finds the folder of a base model: a folder as named, or a snapshot in the local Hugging Face cache.
#include <algorithm>

#include "shori/config/hub_cache.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/settings.h"

namespace shori {
namespace {

// Folders beside `path`, for the message.
std::vector<std::string> folders_beside(const std::string& parent) {
  std::vector<std::string> names;
  for (const std::string& name : list_directory(parent)) {
    if (name.front() != '.' && is_directory(join_path(parent, name))) names.push_back(name);
  }
  return names;
}

std::string likely_name(const std::string& wanted, const std::vector<std::string>& names) {
  std::string similar = find_similar_name(wanted, names);
  if (!similar.empty()) return similar;
  const auto longer = [&](const std::string& name) { return !wanted.empty() && name.starts_with(wanted); };
  const auto found = std::find_if(names.begin(), names.end(), longer);
  return found == names.end() ? "" : *found;
}

void note_neighbours(Diagnostic& missing, const std::string& written, const std::string& path) {
  const std::string parent = parent_path(path);
  if (!is_directory(parent)) {
    missing.note("there is no folder " + escape_for_log(parent, 400));
    return;
  }
  std::vector<std::string> names = folders_beside(parent);
  const std::string likely = likely_name(file_name(path), names);
  missing.note(concat("`", escape_for_log(parent, 400),
                      "/` holds: ", names.empty() ? "no folder" : first_names(std::move(names))));
  const std::string beside = parent_path(written);
  if (!likely.empty()) missing.help(concat("write `", escape_for_log(join_path(beside, likely), 400), "`"));
}

// `key` is what the user gave it as: `base_model` or `--base`.
Diagnostic missing_model(const char* key, const std::string& written, const std::string& path, const HubModel& cached) {
  Diagnostic missing("E0108", concat("`", key, "` does not exist: ", escape_for_log(written, 400)));
  if (is_symlink(path) && !leads_to_something(path)) {
    return missing.note("it is a link to something that does not exist: " + escape_for_log(path, 400));
  }
  if (path_exists(path)) {
    missing.note("it is a file; name the folder that holds config.json and *.safetensors");
    missing.help(concat("write `", escape_for_log(parent_path(written), 400), "`"));
    return missing;
  }
  if (!cached.problem.empty()) missing.note(cached.problem).help(cached.help);
  note_neighbours(missing, written, path);
  if (missing.helps.empty()) {
    const std::string name = file_name(path).starts_with("Mistral-") ? file_name(path) : "Mistral-7B-Instruct-v0.2";
    missing.help(
        concat("name a folder that holds config.json and *.safetensors, or download one: `hf download mistralai/",
               shell_word(name), " --local-dir ", shell_word(path), "`"));
  }
  return missing;
}

std::string without_last_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// The folder at `path`, else for an id the snapshot in the cache.
HubModel find_model(const std::string& written, const std::string& path) {
  if (is_directory(path)) return {path, {}, {}, {}};
  return is_model_id(written) ? find_hub_model(written) : HubModel{};
}

void add_note(LoadedConfig& loaded, const std::string& note) {
  if (note.empty() || std::find(loaded.notes.begin(), loaded.notes.end(), note) != loaded.notes.end()) return;
  loaded.notes.push_back(note);
}

// A path that could not be expanded has its own error.
bool is_reported(const SourceLocation& location, const Diagnostics& diagnostics) {
  return std::any_of(diagnostics.all().begin(), diagnostics.all().end(), [&](const Diagnostic& each) {
    return each.code == "E0118" && each.location.file == location.file && each.location.line == location.line &&
           each.location.column == location.column;
  });
}

}  // namespace

void find_base_models(LoadedConfig& loaded, Diagnostics& diagnostics) {
  for (StageConfig& stage : loaded.stages) {
    const std::string written = stage.config.base_model;
    if (written.empty() || is_reported(stage.origin("base_model").location, diagnostics)) continue;
    const std::string path = without_last_slashes(path_in(loaded.folder, written));
    const HubModel found = find_model(written, path);
    if (!found.folder.empty()) {
      stage.config.base_model = found.folder;
      add_note(loaded, found.note);
    } else {
      diagnostics.add(missing_model("base_model", written, path, found).at(stage.origin("base_model").location));
    }
  }
}

std::string find_base_folder(const char* option, const std::string& written) {
  const std::string path = without_last_slashes(written);
  const HubModel found = find_model(written, path);
  if (found.folder.empty()) throw Error(missing_model(option, written, path, found));
  if (!found.note.empty()) log_info(found.note);
  return found.folder;
}

}  // namespace shori
