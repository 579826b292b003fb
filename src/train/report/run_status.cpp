#include "shori/train/run_status.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "shori/train/run_folder.h"
#include "shori/util/byte_size.h"
#include "shori/util/file.h"
#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"

namespace shori {
namespace {

constexpr std::size_t kSmoothed = 20;

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string line(std::string_view name, const std::string& value) {
  return concat("  ", name, std::string(name.size() < 12 ? 12 - name.size() : 1, ' '), value, "\n");
}

// Seconds since the file was last written; negative if it is absent.
double age_of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return -1;
  return std::max(0.0, std::difftime(std::time(nullptr), status.st_mtime));
}

std::string ago(double seconds) {
  return seconds < 0 ? "" : concat(", ", format_duration(std::max(1.0, std::round(seconds))), " ago");
}

std::string state_text(const RunRecord& record, const LockState& lock) {
  if (record.done) return "finished";
  switch (lock.kind) {
    case LockState::kHeld:
      return concat("running (", lock.owner, ")");
    case LockState::kElsewhere:
      return concat("last used by ", lock.owner, ", which this machine cannot see");
    case LockState::kFree:
      break;
  }
  return "stopped: no process trains it";
}

std::string step_text(const RunRecord& record, std::uint64_t step) {
  std::string text = with_commas(static_cast<std::int64_t>(step));
  if (record.total_steps > 0) {
    text += concat(" of ", with_commas(static_cast<std::int64_t>(record.total_steps)), " (",
                   percent_text(static_cast<std::int64_t>(step), static_cast<std::int64_t>(record.total_steps)), " %");
    text += record.steps.empty() ? ")" : number(", epoch %.2f)", record.steps.back().epoch);
  }
  return text;
}

std::string loss_text(const std::vector<StepRecord>& steps) {
  const std::size_t count = std::min(kSmoothed, steps.size());
  double sum = 0;
  for (std::size_t i = steps.size() - count; i < steps.size(); ++i) sum += steps[i].loss;
  std::string text = number("%.4f", steps.back().loss);
  if (count > 1)
    text += concat(", mean of the last ", count, " steps ") + number("%.4f", sum / static_cast<double>(count));
  if (steps.size() > 1) text += number(", first %.4f", steps.front().loss);
  return text;
}

std::string evaluation_text(const std::vector<const EvalRecord*>& evals) {
  const auto lower = [](const EvalRecord* a, const EvalRecord* b) { return a->loss < b->loss; };
  const EvalRecord& last = *evals.back();
  const EvalRecord& best = **std::ranges::min_element(evals, lower);
  std::string text = number("%.4f", last.loss) + concat(" at step ", last.step);
  if (best.step != last.step) text += number(", best %.4f", best.loss) + concat(" at step ", best.step);
  return text;
}

std::string time_left(const RunRecord& record, std::uint64_t step) {
  const double seconds = record.seconds_per_step();
  if (seconds <= 0 || record.total_steps < step) return "unknown until the first step is done";
  return format_duration(seconds * static_cast<double>(record.total_steps - step));
}

// Of the disk of a running stage. A run whose disk is full waits, and can then write nothing that would say so.
std::string room_text(const RunFolder& folder) {
  struct statvfs disk{};
  struct stat checkpoint{};
  const auto saved = folder.newest_checkpoint();
  if (!saved || ::statvfs(folder.path().c_str(), &disk) != 0) return "";
  const bool is_reserved = path_exists(join_path(folder.checkpoints(), kNextCheckpoint));
  if (::stat(join_path(folder.checkpoints(), checkpoint_name(*saved)).c_str(), &checkpoint) != 0) return "";
  // Some file systems keep blocks for root.
  const std::uint64_t free = std::uint64_t{::geteuid() == 0 ? disk.f_bfree : disk.f_bavail} * disk.f_frsize;
  const std::uint64_t needed = is_reserved ? disk.f_frsize : static_cast<std::uint64_t>(checkpoint.st_size);
  if (free >= needed) return "";
  return concat("the disk is full: ", format_bytes(free), " free, ", format_bytes(needed),
                " needed; the run waits for room and then continues");
}

std::string run_text(const RunRecord& record) {
  const RunFolder folder(record.folder);
  const std::uint64_t step = record.last_step();
  const LockState lock = lock_state(record.folder);
  const bool is_running = !record.done && lock.kind == LockState::kHeld;
  std::string text = concat(escape_for_log(record.stage), ": ", state_text(record, lock), "\n");
  text += line("folder", escape_for_log(record.folder, 400));
  if (const std::string room = room_text(folder); is_running && !room.empty()) text += line("room", room);
  text += line("step", step_text(record, step));
  if (!record.steps.empty()) {
    const StepRecord& last = record.steps.back();
    text += line("loss", loss_text(record.steps));
    text += line("rate", number("%.3g", last.learning_rate) + number(", gradient norm %.4g", last.grad_norm));
  }
  for (const auto& [dataset, evals] : record.evals_by_dataset())
    text += line("evaluation", concat(escape_for_log(dataset), ": ", evaluation_text(evals)));
  if (!record.timings.empty()) {
    const TimingRecord& last = record.timings.back();
    text += line("speed", concat(format_duration(record.seconds_per_step()), " a step, ",
                                 with_commas(std::llround(record.tokens_per_second())), " tokens/s"));
    if (last.share_of_peak > 0)
      text += line("of peak", number("%.0f %% of the card's arithmetic", last.share_of_peak * 100));
    text += line("memory", concat(format_bytes(static_cast<std::uint64_t>(record.memory_peak_bytes())),
                                  last.gpu_memory_bytes > 0 ? " of the GPU at peak" : " of the process at peak"));
    text += line("last step", concat(step, ago(age_of(folder.file("timing.jsonl")))));
  }
  if (!record.done) text += line("left", time_left(record, step));
  if (const auto saved = folder.newest_checkpoint())
    text += line("last save",
                 concat("step ", *saved, ago(age_of(join_path(folder.checkpoints(), checkpoint_name(*saved))))));
  if (record.done) text += line("adapter", escape_for_log(folder.adapter(), 400));
  return text;
}

}  // namespace

std::string status_text(const std::string& path) {
  std::string text;
  for (const std::string& folder : run_folders_in(path))
    text += concat(text.empty() ? "" : "\n", run_text(read_run_record(folder)));
  return text;
}

}  // namespace shori
