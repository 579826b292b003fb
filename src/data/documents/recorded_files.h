// The same data under other names: files that were moved, renamed, or reached by another path.
#pragma once

#include <vector>

#include "shori/data/dataset.h"
#include "src/data/documents/sources.h"

namespace shori {

// If the files have the contents of `recorded`, each once, gives them the recorded paths and, within the training and
// the evaluation files, the recorded order: samples are then numbered as in the run that recorded them. Otherwise
// nothing changes. Reads the files only if a path differs.
void follow_record(DataSources& sources, const std::vector<RecordedFile>& recorded);

}  // namespace shori
