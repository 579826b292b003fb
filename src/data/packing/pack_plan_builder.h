// Shared by the builder of pack plans and the reader of their files.
#pragma once

#include <cstddef>
#include <vector>

#include "shori/data/pack_plan.h"

namespace shori {

// make_pack_plan, but at most `epoch_limit` epochs: what a file can hold bounds what is built to compare with it.
PackPlan build_pack_plan(std::vector<SampleCost> samples, const PlanOptions& options, std::size_t epoch_limit);

}  // namespace shori
