#include "src/data/sources/remote_paths.h"

#include <string>
#include <string_view>

#include "shori/config/hub_cache.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// What follows the scheme of an address; empty if `path` is none.
std::string after_scheme(const std::string& path) {
  const std::size_t end = path.find("://");
  const std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+";
  return end == std::string::npos || end == 0 || path.find_first_not_of(letters) != end ? "" : path.substr(end + 3);
}

}  // namespace

bool add_download_help(Diagnostic& problem, const DataEntry& entry) {
  constexpr std::string_view kHub = "datasets/";
  const std::string rest = after_scheme(entry.path), scheme = lower_ascii(entry.path.substr(0, entry.path.find(':')));
  const std::string name = file_name(rest).empty() ? "FILE" : file_name(rest), into = join_path("downloads", name);
  if (rest.empty()) {
    const std::string config_folder = parent_path(parent_path(entry.resolved_path));
    if (!is_hub_data(entry.path, config_folder)) return false;
    problem.note("data sets of the Hugging Face Hub are not fetched: nothing is reached over the network")
        .help(concat("download it: `", hub_data_command(entry.path, entry.resolved_path), "`"));
    return true;
  }
  if (scheme == "file") {
    problem.note("paths are written without `file://`").help(concat("write `path: ", rest, "`"));
    return true;
  }
  problem.note("addresses are not fetched: nothing is reached over the network");
  std::string command = concat("curl -L --create-dirs -o ", shell_word(into), " ", shell_word(entry.path));
  if (scheme == "s3") command = concat("aws s3 cp --recursive ", shell_word(entry.path), " ", shell_word(into));
  if (scheme == "gs" || scheme == "gcs")
    command = concat("gcloud storage cp -r ", shell_word("gs://" + rest), " ", shell_word(into));
  if (scheme == "hf") {
    const std::string id = rest.starts_with(kHub) ? rest.substr(kHub.size()) : rest;
    command = hub_data_command(id, into);
  }
  problem.help(concat("download it: `", command, "`, then write the path of the file or folder"));
  return true;
}

}  // namespace shori
