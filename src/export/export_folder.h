// A folder that an export makes: written beside its target, and renamed when it is complete.
#pragma once

#include <map>
#include <string>

#include "shori/export/export_source.h"

namespace shori {

class ExportFolder {
 public:
  // Checks the target (see check_target()), makes its parent, and removes what a killed export left. path() does not
  // exist yet.
  ExportFolder(const std::string& out, const ExportInputs& inputs, bool force);
  // Removes what was written, unless it was published: nothing half-written remains.
  ~ExportFolder();
  ExportFolder(const ExportFolder&) = delete;
  ExportFolder& operator=(const ExportFolder&) = delete;

  const std::string& path() const { return path_; }      // the temporary folder
  const std::string& target() const { return target_; }  // absolute
  // Gives the folder its final name. A target that is not empty (force) is moved aside.
  void publish();

 private:
  std::string target_, path_;
};

// SHA-256 of files in a folder and below, by their path from there.
using FileDigests = std::map<std::string, std::string>;
// Of every file. Those of the `known` are not read again.
FileDigests digests_of_files(const std::string& folder, FileDigests known = {});

}  // namespace shori
