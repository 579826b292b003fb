#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {

std::string snapshot_id(const std::string& folder) {
  const std::string snapshots = parent_path(absolute_path(folder)), root = file_name(parent_path(snapshots));
  const std::size_t dashes = root.find("--", std::string_view("models--").size());
  if (file_name(snapshots) != "snapshots" || !root.starts_with("models--") || dashes == std::string::npos) return "";
  return concat(root.substr(8, dashes - 8), "/", root.substr(dashes + 2));
}

std::string download_help(const std::string& folder, const std::vector<std::string>& names) {
  std::string files;
  for (const std::string& name : names) files += " " + shell_word(name);
  if (const std::string id = snapshot_id(folder); !id.empty())
    return concat("download again: `hf download ", shell_word(id), files, "`");
  return concat("download again from where the model came from, for ORG/NAME of Hugging Face: `hf download ORG/NAME",
                files, " --local-dir ", shell_word(folder), "`");
}

std::string replace_help(const std::string& path) {
  const std::string folder = parent_path(path), name = shell_word(file_name(path));
  // A cache does not look at the content of the files that it has.
  if (const std::string id = snapshot_id(folder); !id.empty())
    return concat("get the file again: `hf download ", shell_word(id), " ", name, " --force-download`");
  return concat("get the file, for ORG/NAME of Hugging Face: `hf download ORG/NAME ", name, " --local-dir ",
                shell_word(folder), "`");
}

}  // namespace shori
