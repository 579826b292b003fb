#include "shori/config/hub_cache.h"

#include <algorithm>
#include <array>
#include <optional>

#include "shori/config/vocabulary.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::uint64_t kRefBytes = 256;

bool is_name(std::string_view text) {
  const std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         text.find_first_not_of(safe) == std::string::npos;
}

std::string hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (std::string cache = path_variable(name); !cache.empty()) return cache;
  }
  if (const std::string home = path_variable("HF_HOME"); !home.empty()) return join_path(home, "hub");
  if (const std::string cache = path_variable("XDG_CACHE_HOME"); !cache.empty()) {
    return join_path(cache, "huggingface/hub");
  }
  return expand_user_path("~/.cache/huggingface/hub").path;
}

std::string path_text(const std::string& path) { return escape_for_log(path, 400); }

// What refs/main names; nullopt without that file. It becomes part of a path, so text other than hex digits is not taken.
std::optional<std::string> main_revision(const std::string& model) {
  const std::string ref = join_path(model, "refs/main");
  if (!leads_to_something(ref)) return std::nullopt;
  try {
    const std::string text = read_whole_file(InputFile::open(ref, "E0108"), kRefBytes, "E0108");
    const std::string revision(trim(text));
    return revision.find_first_not_of("0123456789abcdef") == std::string::npos ? revision : "";
  } catch (const Error&) {
    return "";
  }
}

std::vector<std::string> snapshots_of(const std::string& model) {
  std::vector<std::string> revisions;
  const std::string folder = join_path(model, "snapshots");
  if (!is_directory(folder)) return revisions;
  for (const std::string& name : list_directory(folder)) {
    if (is_directory(join_path(folder, name))) revisions.push_back(name);
  }
  return revisions;
}

// Names in a snapshot that lead nowhere.
std::vector<std::string> dangling_links(const std::string& snapshot) {
  std::vector<std::string> names;
  for (const std::string& name : list_directory(snapshot)) {
    const std::string path = join_path(snapshot, name);
    if (is_symlink(path) && !leads_to_something(path)) names.push_back(name);
  }
  return names;
}

std::string download_help(const std::string& id) {
  return concat("download it: `hf download ", id, "` (older: `huggingface-cli download ", id, "`)");
}

HubModel refused(const std::string& problem, const std::string& help) { return {"", problem, help, ""}; }

HubModel checked_snapshot(const std::string& id, const std::string& snapshot, const std::string& note) {
  const std::vector<std::string> dangling = dangling_links(snapshot);
  if (dangling.empty()) return {snapshot, "", "", note};
  return refused(concat("links of ", path_text(snapshot), " lead to files that are missing: ", first_names(dangling)),
                 download_help(id));
}

HubModel find_in(const std::string& id, const std::string& model) {
  if (!is_directory(model)) return refused("not in the Hugging Face cache: " + path_text(model), download_help(id));
  const std::string snapshots = join_path(model, "snapshots"), ref = path_text(join_path(model, "refs/main"));
  const std::vector<std::string> revisions = snapshots_of(model);
  const std::optional<std::string> revision = main_revision(model);
  if (revision && std::find(revisions.begin(), revisions.end(), *revision) != revisions.end())
    return checked_snapshot(id, join_path(snapshots, *revision), "");
  if (!revision && revisions.size() == 1) {
    return checked_snapshot(id, join_path(snapshots, revisions.front()),
                            concat(id, ": ", ref, " is missing, so the only snapshot is used: ", revisions.front()));
  }
  const std::string named = !revision           ? " is missing"
                            : revision->empty() ? " names no revision"
                                                : concat(" names ", *revision, ", which has no snapshot");
  if (revisions.empty()) return refused(ref + named, download_help(id));
  return refused(concat(ref, named, "; there are snapshots of ", first_names(revisions)),
                 concat("name the folder of one of them: `", path_text(join_path(snapshots, revisions.front())), "`"));
}

}  // namespace

bool is_model_id(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && is_name(text.substr(0, slash)) && is_name(text.substr(slash + 1));
}

bool is_hub_data(const std::string& path, const std::string& folder) {
  constexpr std::array<std::string_view, 12> kFiles = {".blockml", ".txt", ".jsonl",   ".json", ".yaml", ".yml",
                                                       ".log",     ".md",  ".parquet", ".csv",  ".gz",   ".zst"};
  const auto is_file = [&](std::string_view ending) { return path.ends_with(ending); };
  if (!is_model_id(path) || std::any_of(kFiles.begin(), kFiles.end(), is_file)) return false;
  return !path_exists(join_path(folder.empty() ? "." : folder, path.substr(0, path.find('/'))));
}

std::string hub_data_command(const std::string& id, const std::string& into) {
  return concat("hf download ", shell_word(id), " --repo-type dataset --local-dir ", shell_word(into));
}

std::string first_names(std::vector<std::string> names) {
  constexpr std::size_t kListedNames = 8;
  const std::size_t more = names.size() > kListedNames ? names.size() - kListedNames : 0;
  if (more > 0) names.resize(kListedNames);
  for (std::string& name : names) name = escape_for_log(name);
  if (more > 0) names.push_back(concat("and ", more, " more"));
  return join_words(names);
}

std::vector<std::string> hub_caches() {
  std::vector<std::string> caches = {hub_cache()};
  const std::string old = path_variable("TRANSFORMERS_CACHE");
  if (!old.empty() && old != caches.front()) caches.push_back(old);
  return caches;
}

HubModel find_hub_model(const std::string& id) {
  std::string name = id;
  name.replace(name.find('/'), 1, "--");
  HubModel first;
  for (const std::string& cache : hub_caches()) {
    HubModel found = find_in(id, join_path(cache, "models--" + name));
    if (!found.folder.empty()) return found;
    if (first.problem.empty() || first.problem.starts_with("not in")) first = std::move(found);
  }
  return first;
}

}  // namespace shori
