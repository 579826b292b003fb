// Prepared data of files that have other paths now.
#pragma once

#include "src/data/dataset/prepared_data.h"

namespace shori {

// Replaces the paths that were kept by those of `sources`, which has the same files in the same order: in ids, locations,
// names of sets, and warnings.
void use_present_paths(PreparedData& kept, const DataSources& sources);

}  // namespace shori
