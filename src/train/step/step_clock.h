// Seconds of the parts of a step: by the clock on the CPU, by events on a device, where a call returns before its work
// is done.
#pragma once

#include <memory>
#include <vector>

#include "shori/ops/op_context.h"

namespace shori {

class StepClock {
 public:
  explicit StepClock(const OpContext& context);

  // Adds the time since the last lap, or since the construction, to `seconds`; on a device only finish() does that.
  void lap(double& seconds);
  void finish();

 private:
  struct Lap {
    std::unique_ptr<DeviceEvent> end;
    double* seconds;
  };
  OpContext context_;
  double since_ = 0;
  std::unique_ptr<DeviceEvent> begin_;
  std::vector<Lap> laps_;
};

}  // namespace shori
