// A dry run on a device before the first step.
#pragma once

#include "shori/model/mistral.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/error.h"

namespace shori {

// A trial pass that ran out of memory: E0401 with the table of the plan.
class TrialOutOfMemory : public Error {
 public:
  using Error::Error;
};

// Checks the device's attention against the CPU version, then runs forward and backward pass over the micro-batch that
// needs the most memory. So what does not fit fails before anything depends on it (TrialOutOfMemory), and every large product
// has chosen its algorithm before run.json is written. Leaves nothing behind but buffers.
void run_trial_pass(const PreparedStage& stage, Mistral& model);

}  // namespace shori
