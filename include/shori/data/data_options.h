// What a stage's config says about its data.
#pragma once

#include <cstdint>
#include <memory>

#include "shori/config/train_config.h"
#include "shori/data/dataset.h"
#include "shori/data/lint.h"
#include "shori/data/pack_plan.h"

namespace shori {

// The rules of `lint`. `errors_only`: those at level error, which is what training asks for. A file of names that is
// missing is E0315.
std::shared_ptr<const LintOptions> lint_options(const TrainConfig& config, bool errors_only);

// `vocab_size` is that of the model. It uses the lint rules that training applies.
DataOptions data_options(const TrainConfig& config, std::int64_t vocab_size);

PlanOptions plan_options(const TrainConfig& config);

}  // namespace shori
