// What became of the data of a run since it was recorded.
#pragma once

#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/util/json.h"

namespace shori {

// The data files of a record (run.json or done.json) in their order; empty if it has none.
std::vector<RecordedFile> recorded_files(const JsonValue& record);

// An E0508 for each file that is new, missing or has other content; files are compared by content, so those that were
// only moved or renamed are none of them. Empty if every file is there.
std::vector<Diagnostic> data_file_changes(const std::vector<RecordedFile>& recorded, const PreparedStage& stage,
                                          const std::string& since);

}  // namespace shori
