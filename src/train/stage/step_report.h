// What a user sees of a running stage: the progress line, and timing.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shori/util/progress.h"
#include "src/train/files/metrics.h"
#include "src/train/report/loss_average.h"
#include "src/train/screen/live_text.h"
#include "src/train/stage/run_files.h"
#include "src/train/stage/stage_session.h"

namespace shori {

class StepReport {
 public:
  // `later_steps`: of the stages that are trained after this one. `seconds_left`: of the steps of this one, if a run before
  // gives an idea of it.
  StepReport(const StageSession& session, std::uint64_t later_steps, std::optional<double> seconds_left);

  // Inside a step of which `done`, 0 to 1, took `seconds`: moves the line on a terminal.
  void move(const StageSession& session, double done, double seconds);
  // After a step: adds the memory in use to `timing`, writes it to timing.jsonl, and shows the progress line, which every
  // `logging_steps` steps goes to the log as well. `durable`: the step is known to be on the disk.
  void add(const StageSession& session, const StepResult& result, StepTiming timing, bool durable, RunFiles& files);

 private:
  std::string progress_line(const StageSession& session, const StepResult& result, const StepTiming& timing) const;
  void show(const StageSession& session);

  std::uint64_t later_steps_;
  Progress progress_;
  LiveState live_;
  LossAverage average_;
  double seconds_per_step_ = 0;  // running average, for the time left
  bool has_estimate_ = false;    // before the first step has ended
  double peak_flops_ = 0;        // of the card; 0: not known
};

// After the last step of a stage on a device: the peak of its own allocations, which equals the plan, and what is in use
// beyond it by libtorch, the driver and other programs. Checks the guard bytes of the arenas, where it has any.
void log_device_peak(const DeviceMemory& memory, const MemoryPlan& plan);

}  // namespace shori
