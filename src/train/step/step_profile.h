// `--profile-steps`: the time of each op of one step.
#pragma once

#include <cstdint>

#include "shori/model/mistral.h"
#include "shori/ops/op_profile.h"
#include "shori/train/run_folder.h"

namespace shori {

// Times the ops of `model` from its construction to its destruction.
class StepProfile {
 public:
  explicit StepProfile(Mistral& model);
  ~StepProfile();
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  // At the end of step `step`: logs the table and writes profile.json.
  void write(std::uint64_t step, const RunFolder& folder);

 private:
  Mistral& model_;
  OpProfile profile_;
  double begun_;
};

}  // namespace shori
