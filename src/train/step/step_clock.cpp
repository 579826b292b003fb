#include "src/train/step/step_clock.h"

#include <utility>

#include "shori/util/progress.h"

namespace shori {

namespace {

std::unique_ptr<DeviceEvent> event_in(void* stream) {
  auto event = std::make_unique<DeviceEvent>();
  event->record(stream);
  return event;
}

}  // namespace

StepClock::StepClock(const OpContext& context) : context_(context), since_(now_seconds()) {
  if (context.device == Device::kCuda) begin_ = event_in(context.stream);
}

void StepClock::lap(double& seconds) {
  if (begin_) {
    laps_.push_back({event_in(context_.stream), &seconds});
    return;
  }
  const double now = now_seconds();
  seconds += now - std::exchange(since_, now);
}

void StepClock::finish() {
  if (laps_.empty()) return;
  laps_.back().end->synchronize();
  for (Lap& lap : laps_) {
    *lap.seconds += lap.end->seconds_since(*begin_);
    begin_ = std::move(lap.end);
  }
  laps_.clear();
}

}  // namespace shori
