// Finds the folder of a base model: a folder as named, or a snapshot in the local Hugging Face cache.
#include <algorithm>
#include <cstdlib>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/settings.h"

namespace shori {
namespace {

constexpr std::uint64_t kRefBytes = 256;
constexpr std::size_t kListedNames = 8;

bool is_name(std::string_view text) {
  const std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         text.find_first_not_of(safe) == std::string::npos;
}

// `org/name`, as the Hub names models.
bool is_model_id(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && is_name(text.substr(0, slash)) && is_name(text.substr(slash + 1));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The cache folder by the rules of huggingface_hub; empty if there is no home folder.
std::string hub_cache() {
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return join_path(home, "hub");
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) {
    return join_path(cache, "huggingface/hub");
  }
  const std::string home = environment("HOME");
  return home.empty() ? "" : join_path(home, ".cache/huggingface/hub");
}

std::string cached_model_folder(std::string id) {
  id.replace(id.find('/'), 1, "--");
  return join_path(hub_cache(), "models--" + id);
}

// The commit that refs/main names, or an empty text. It becomes part of a path, so only hex digits are accepted.
std::string main_revision(const std::string& model_folder) {
  const std::string ref = join_path(model_folder, "refs/main");
  if (!path_exists(ref)) return "";
  std::string revision = read_whole_file(InputFile::open(ref, "E0108"), kRefBytes, "E0108");
  revision = trim(revision);
  const bool hex = revision.find_first_not_of("0123456789abcdef") == std::string::npos;
  return hex ? revision : "";
}

// Folders beside `path`, for the message.
std::vector<std::string> folders_beside(const std::string& parent) {
  std::vector<std::string> names;
  for (const std::string& name : list_directory(parent)) {
    if (name.front() != '.' && is_directory(join_path(parent, name))) names.push_back(name);
  }
  return names;
}

std::string likely_name(const std::string& wanted, const std::vector<std::string>& names) {
  const std::string similar = find_similar_name(wanted, names);
  if (!similar.empty()) return similar;
  const auto longer = [&](const std::string& name) { return !wanted.empty() && name.starts_with(wanted); };
  const auto found = std::find_if(names.begin(), names.end(), longer);
  return found == names.end() ? "" : *found;
}

void note_neighbours(Diagnostic& missing, const std::string& written, const std::string& path) {
  const std::string parent = parent_path(path).empty() ? "." : parent_path(path);
  if (!is_directory(parent)) {
    missing.note("there is no folder " + escape_for_log(parent, 400));
    return;
  }
  std::vector<std::string> names = folders_beside(parent);
  const std::string likely = likely_name(file_name(path), names);
  const std::size_t more = names.size() > kListedNames ? names.size() - kListedNames : 0;
  if (more > 0) names.resize(kListedNames);
  for (std::string& name : names) name = escape_for_log(name);
  if (more > 0) names.push_back(concat("and ", more, " more"));
  missing.note(concat("`", escape_for_log(parent, 400), "/` holds: ", names.empty() ? "no folder" : join_words(names)));
  const std::string beside = parent_path(written);
  if (!likely.empty()) missing.help(concat("write `", escape_for_log(join_path(beside, likely), 400), "`"));
}

Diagnostic missing_model(const std::string& written, const std::string& path) {
  Diagnostic missing("E0108", "`base_model` does not exist: " + escape_for_log(written, 400));
  if (path_exists(path)) {
    missing.note("it is a file; name the folder that holds config.json and *.safetensors");
    missing.help(concat("write `", escape_for_log(parent_path(written), 400), "`"));
    return missing;
  }
  if (is_model_id(written)) {
    missing.note("not in the Hugging Face cache: " + escape_for_log(cached_model_folder(written), 400));
    missing.help(concat("download it: `hf download ", written, "` (older: `huggingface-cli download ", written, "`)"));
  }
  note_neighbours(missing, written, path);
  if (missing.helps.empty()) {
    const std::string name = file_name(path).starts_with("Mistral-") ? file_name(path) : "Mistral-7B-Instruct-v0.2";
    missing.help(
        concat("name a folder that holds config.json and *.safetensors, or download one: `hf download mistralai/",
               escape_for_log(name), " --local-dir ", escape_for_log(path, 400), "`"));
  }
  return missing;
}

// The folder that `written` names, or an empty text.
std::string locate(const std::string& written, const std::string& path) {
  if (is_directory(path)) return path;
  if (!is_model_id(written)) return "";
  const std::string revision = main_revision(cached_model_folder(written));
  if (revision.empty()) return "";
  const std::string snapshot = join_path(cached_model_folder(written), "snapshots/" + revision);
  return is_directory(snapshot) ? snapshot : "";
}

}  // namespace

void find_base_models(LoadedConfig& loaded, Diagnostics& diagnostics) {
  for (StageConfig& stage : loaded.stages) {
    const std::string written = stage.config.base_model;
    if (written.empty()) continue;
    std::string path = path_in(loaded.folder, written);
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const std::string folder = locate(written, path);
    if (!folder.empty()) {
      stage.config.base_model = folder;
    } else {
      diagnostics.add(missing_model(written, path).at(stage.origin("base_model").location));
    }
  }
}

}  // namespace shori
