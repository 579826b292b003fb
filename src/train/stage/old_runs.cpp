#include "src/train/stage/old_runs.h"

#include <algorithm>

#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {

OldRuns::OldRuns(std::vector<PreparedStage>& stages, std::size_t first) {
  for (std::size_t i = first; i < stages.size(); ++i) {
    PreparedStage& stage = stages[i];
    const std::string& path = folders_.emplace_back(stage.folder.path());
    if (is_directory(path) && !is_symlink(path)) locks_.push_back(RunLock::take(path));
    stage.state = StageState::kToTrain;
    stage.step = 0;
    stage.changes.clear();
    stage.adapter_sha256.reset();
  }
}

bool OldRuns::contains(const RunFolder& folder) const {
  return std::ranges::find(folders_, folder.path()) != folders_.end();
}

void OldRuns::move_aside() {
  for (const std::string& folder : folders_)
    if (path_exists(folder)) log_info(concat("moved ", folder, " to ", shori::move_aside(folder)));
  folders_.clear();
  locks_.clear();
}

}  // namespace shori
