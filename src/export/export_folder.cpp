#include "src/export/export_folder.h"

#include <filesystem>
#include <system_error>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// Of the files in the folder `part` of `root` and below.
void add_digests(const std::string& root, const std::string& part, FileDigests& digests) {
  for (const std::string& name : list_directory(join_path(root, part))) {
    const std::string file = join_path(part, name);
    if (is_directory(join_path(root, file)))
      add_digests(root, file, digests);
    else if (!digests.contains(file))
      digests[file] = sha256_of_file(InputFile::open_in(join_path(root, part), name, "E0804"));
  }
}

}  // namespace

ExportFolder::ExportFolder(const std::string& out, const ExportInputs& inputs, bool force)
    : target_(check_target(out, inputs, force)),
      path_(join_path(parent_path(target_), concat(".", file_name(target_), ".partial"))) {
  make_directories(parent_path(target_));
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error)
    throw Error(Diagnostic("E0513", concat(quoted_path(target_), " cannot be used for writing: ", error.message()))
                    .help("name another folder"));
}

ExportFolder::~ExportFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void ExportFolder::publish() {
  publish_folder(path_, target_);
  path_.clear();
}

FileDigests digests_of_files(const std::string& folder, FileDigests known) {
  add_digests(folder, "", known);
  return known;
}

}  // namespace shori
