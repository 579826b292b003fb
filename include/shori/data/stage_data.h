// What a stage's config says about its data.
#pragma once

#include <cstdint>
#include <vector>

#include "shori/config/train_config.h"
#include "shori/data/dataset.h"
#include "shori/data/pack_plan.h"

namespace shori {

std::vector<DataEntry> data_entries(const std::vector<DatasetEntry>& entries);

// `vocab_size` is that of the model.
DataOptions data_options(const TrainConfig& config, std::int64_t vocab_size);

PlanOptions plan_options(const TrainConfig& config);

}  // namespace shori
