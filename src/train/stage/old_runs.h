// The run folders that `--from` replaces.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/train/run_folder.h"

namespace shori {

class OldRuns {
 public:
  // The folders of stages[first] and all later ones, whose state becomes "to train". Takes the lock of each that exists,
  // so that another program at work in one is noticed (E0501) before any is moved.
  OldRuns(std::vector<PreparedStage>& stages, std::size_t first);

  // Whether `folder` is one of them and not moved yet: it still has the old run.
  bool contains(const RunFolder& folder) const;
  // Moves each folder to the first free name <folder>.old-N, with its lock, and releases the locks. Nothing is left to
  // do for a second call.
  void move_aside();

 private:
  std::vector<std::string> folders_;
  std::vector<RunLock> locks_;
};

}  // namespace shori
