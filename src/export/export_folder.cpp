#include "src/export/export_folder.h"

#include <filesystem>
#include <system_error>

#include "shori/export/export_source.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {

ExportFolder::ExportFolder(const std::string& out, const std::string& base, bool force)
    : target_(check_target(out, base, force)),
      path_(join_path(parent_path(target_), concat(".", file_name(target_), ".partial"))) {
  make_directories(parent_path(target_));
  std::filesystem::remove_all(path_);
}

ExportFolder::~ExportFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void ExportFolder::publish() {
  publish_folder(path_, target_);
  path_.clear();
}

std::map<std::string, std::string> digests_of_files(const std::string& folder,
                                                    const std::map<std::string, std::string>& known) {
  std::map<std::string, std::string> digests;
  for (const std::string& name : list_directory(folder)) {
    const std::string path = join_path(folder, name);
    if (is_directory(path)) {
      std::map<std::string, std::string> below;
      for (const auto& [file, digest] : known)
        if (file.starts_with(name + "/")) below[file.substr(name.size() + 1)] = digest;
      for (const auto& [inner, digest] : digests_of_files(path, below)) digests[join_path(name, inner)] = digest;
    } else if (const auto found = known.find(name); found != known.end()) {
      digests[name] = found->second;
    } else {
      digests[name] = sha256_of_file(InputFile::open_in(folder, name, "E0804"));
    }
  }
  return digests;
}

}  // namespace shori
