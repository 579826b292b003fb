// Settings against the length of the run, which is known as soon as the data are packed.
#pragma once

#include "shori/train/prepared_stage.h"

namespace shori {

// E0119: the rate is 0 in every step. W0101: a setting that cannot do what it says, with both numbers: a warm-up that is
// not shorter than the run, max_steps beyond num_epochs, intervals and a patience longer than the run,
// more micro-batches in a step than an epoch has, evaluation data that hold nothing.
void check_run_length(const PreparedStage& stage, Diagnostics& diagnostics);

}  // namespace shori
