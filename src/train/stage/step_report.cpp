#include "src/train/stage/step_report.h"

#include <cstdio>
#include <fstream>

#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

std::string bytes_text(std::size_t bytes) { return format_bytes(bytes); }

void add_process_memory(StepTiming& timing) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) timing.memory_bytes = kib * 1024;
    if (word == "VmHWM:" && status >> kib) timing.memory_peak_bytes = kib * 1024;
  }
}

}  // namespace

std::string StepReport::progress_line(const StageSession& session, const StepResult& result,
                                      const StepTiming& timing) const {
  const std::uint64_t step = session.state().step, total = session.stage().total_steps();
  const bool on_cpu = session.ops().device == Device::kCpu;
  const std::size_t used = on_cpu ? static_cast<std::size_t>(timing.memory_bytes) : device_bytes_in_use();
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, "  epoch %.2f  loss %.4f  grad %.4g  lr %.3g  %.0f tok/s  ", session.epoch(),
                result.loss, result.grad_norm, session.learning_rate(step), timing.tokens_per_second);
  return concat(session.stage().name, " step ", step, "/", total, "  left ",
                format_duration(seconds_per_step_ * static_cast<double>(total - step)), numbers, bytes_text(used));
}

void StepReport::add(const StageSession& session, const StepResult& result, StepTiming timing, bool durable,
                     RunFiles& files) {
  add_process_memory(timing);
  files.add_timing(timing);
  const double seconds = timing.seconds + timing.checkpoint_seconds;
  seconds_per_step_ = seconds_per_step_ == 0 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  const std::string line = progress_line(session, result, timing);
  progress_.live(durable ? line + "  saved" : line);
  const auto interval = static_cast<std::uint64_t>(session.stage().config.logging_steps);
  if (session.state().step % interval == 0 || session.is_done()) log_detail(line);
}

void log_device_peak(const DeviceMemory& memory, const MemoryPlan& plan) {
  memory.device.check_guards();
  memory.pinned.check_guards();
  log_info(concat("GPU memory: ", bytes_text(device_peak_bytes()), " at peak, ", bytes_text(plan.base_arena_bytes),
                  " planned for it; ", bytes_text(device_bytes_in_use()), " in use on the GPU, ",
                  bytes_text(plan.total_bytes), " planned in total"));
}

}  // namespace shori
