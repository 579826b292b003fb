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

std::map<std::string, std::string> digests_of_files(const std::string& folder) {
  std::map<std::string, std::string> digests;
  for (const std::string& name : list_directory(folder)) {
    const std::string path = join_path(folder, name);
    if (!is_directory(path)) {
      digests[name] = sha256_of_file(InputFile::open_in(folder, name, "E0804"));
      continue;
    }
    for (const auto& [inner, digest] : digests_of_files(path)) digests[join_path(name, inner)] = digest;
  }
  return digests;
}

}  // namespace shori
