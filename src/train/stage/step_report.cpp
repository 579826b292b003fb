#include "src/train/stage/step_report.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/train/plan/stage_options.h"
#include "src/train/plan/step_flop.h"

namespace shori {
namespace {

// On a GPU that of the card as well: what all programs use, and what this one allocated at its peak.
void add_memory(const StageSession& session, StepTiming& timing) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) timing.memory_bytes = kib * 1024;
    if (word == "VmHWM:" && status >> kib) timing.memory_peak_bytes = kib * 1024;
  }
  if (session.ops().device == Device::kCpu) return;
  timing.gpu_memory_bytes = static_cast<std::int64_t>(device_bytes_in_use());
  timing.gpu_memory_peak_bytes = static_cast<std::int64_t>(device_peak_bytes());
}

std::uint64_t line_interval(const PreparedStage& stage) {
  return stage.is_set("logging_steps") ? static_cast<std::uint64_t>(stage.config.logging_steps) : stage.log_interval();
}

// Of the step that has just ended.
double flop_of_step(const StageSession& session) {
  const PreparedStage& stage = session.stage();
  return step_flop(stage.base->model->config(), lora_settings(stage.config), session.checkpointing(), stage.plan,
                   stage.plan.steps[session.state().step - 1]);
}

std::size_t memory_of(const StepTiming& timing) {
  return static_cast<std::size_t>(timing.gpu_memory_bytes.value_or(timing.memory_bytes));
}

}  // namespace

StepReport::StepReport(const StageSession& session, std::uint64_t later_steps, std::optional<double> seconds_left)
    : later_steps_(later_steps), has_estimate_(seconds_left.has_value()) {
  const std::uint64_t steps = session.stage().total_steps() - session.state().step;
  if (seconds_left) seconds_per_step_ = *seconds_left / static_cast<double>(std::max<std::uint64_t>(1, steps));
  const bool on_gpu = session.ops().device != Device::kCpu;
  if (on_gpu && session.stage().config.bf16) peak_flops_ = peak_flops(open_device().name).value_or(0);
}

void StepReport::move(const StageSession& session, double done, double seconds) {
  live_.moved = done;
  // Until a step has ended, what one takes follows from its own parts.
  if (live_.losses.empty() && !has_estimate_ && done > 0) seconds_per_step_ = seconds / done;
  show(session);
}

void StepReport::show(const StageSession& session) {
  if (!progress_.is_live_due()) return;
  live_.stage = session.stage().name;
  live_.step = session.state().step;
  live_.total = session.stage().total_steps();
  if (seconds_per_step_ > 0) {
    const double left = static_cast<double>(live_.total - live_.step) - live_.moved;
    live_.seconds_left = seconds_per_step_ * left;
    if (later_steps_ > 0) live_.recipe_seconds_left = seconds_per_step_ * (left + static_cast<double>(later_steps_));
  }
  progress_.live(live_text(live_, terminal_columns() - 1, locale_is_utf8()));
}

std::string StepReport::progress_line(const StageSession& session, const StepResult& result,
                                      const StepTiming& timing) const {
  const std::uint64_t step = session.state().step, total = session.stage().total_steps();
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, "  epoch %.2f  loss %.4f  grad %.4g  lr %.3g  %.0f tok/s  ", session.epoch(),
                result.loss, result.grad_norm, session.learning_rate(step), timing.tokens_per_second);
  return concat(session.stage().name, " step ", step, "/", total, "  left ",
                format_duration(seconds_per_step_ * static_cast<double>(total - step)), numbers,
                format_bytes(memory_of(timing)));
}

void StepReport::add(const StageSession& session, const StepResult& result, StepTiming timing, bool durable,
                     RunFiles& files) {
  add_memory(session, timing);
  if (peak_flops_ > 0) timing.share_of_peak = flop_of_step(session) / (peak_flops_ * std::max(timing.seconds, 1e-9));
  files.add_timing(timing);
  const double seconds = timing.seconds + timing.checkpoint_seconds;
  seconds_per_step_ = live_.losses.empty() ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  live_.moved = 0;
  live_.losses.push_back(result.loss);
  live_.average_loss = average_.add(result.loss);
  live_.grad_norm = result.grad_norm;
  live_.learning_rate = session.learning_rate(session.state().step);
  live_.tokens_per_second = timing.tokens_per_second;
  live_.share_of_peak = timing.share_of_peak;
  live_.memory_bytes = memory_of(timing);
  live_.saved = durable;
  show(session);
  if (session.state().step % line_interval(session.stage()) == 0 || session.is_done())
    log_detail(progress_line(session, result, timing));
}

void log_device_peak(const DeviceMemory& memory, const MemoryPlan& plan) {
  memory.device.check_guards();
  memory.pinned.check_guards();
  log_info(concat("GPU memory: ", format_bytes(device_peak_bytes()), " at peak, ", format_bytes(plan.base_arena_bytes),
                  " planned for it; ", format_bytes(device_bytes_in_use()), " in use on the GPU, ",
                  format_bytes(plan.total_bytes), " planned in total"));
}

}  // namespace shori
