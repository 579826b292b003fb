#include "src/train/files/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "shori/util/error.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const int milliseconds =
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32], result[40];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(result, sizeof result, "%s.%03dZ", text, milliseconds);
  return result;
}

}  // namespace

std::string step_line(const StepMetrics& m) {
  return json_text({{"type", "step"},
                    {"stage", m.stage},
                    {"step", m.step},
                    {"epoch", m.epoch},
                    {"micro_batches", m.micro_batches},
                    {"samples", m.samples},
                    {"tokens", m.tokens},
                    {"targets", m.targets},
                    {"loss", m.loss},
                    {"grad_norm", m.grad_norm},
                    {"clip_factor", m.clip_factor},
                    {"learning_rate", m.learning_rate},
                    {"update_max", m.update_max}});
}

std::string eval_line(const EvalMetrics& m) {
  const double perplexity = std::exp(std::min(m.loss, 709.0));  // e^710 is infinite
  return json_text({{"type", "eval"},
                    {"stage", m.stage},
                    {"step", m.step},
                    {"epoch", m.epoch},
                    {"dataset", m.dataset},
                    {"samples", m.samples},
                    {"targets", m.targets},
                    {"loss", m.loss},
                    {"perplexity", perplexity},
                    {"loss_by_role", m.loss_by_role},
                    {"loss_by_category", m.loss_by_category}});
}

std::string sample_line(const SampleMetrics& m) {
  return json_text({{"type", "sample"},
                    {"stage", m.stage},
                    {"step", m.step},
                    {"prompt", m.prompt},
                    {"preset", m.preset},
                    {"seed", m.seed},
                    {"hint", text_or_null(m.hint)},
                    {"bucket", text_or_null(m.bucket)},
                    {"tokens", m.tokens},
                    {"stop", m.stop},
                    {"impersonated", m.impersonated},
                    {"repetition", m.repetition},
                    {"text", m.text}});
}

std::string end_line(const EndMetrics& m) {
  return json_text({{"type", "end"},
                    {"stage", m.stage},
                    {"step", m.step},
                    {"epoch", m.epoch},
                    {"tokens", m.tokens},
                    {"targets", m.targets},
                    {"adapter_sha256", m.adapter_sha256}});
}

std::string timing_line(const StepTiming& t) {
  Json json = {{"step", t.step},
               {"time", utc_now()},
               {"seconds", t.seconds},
               {"forward_seconds", t.forward_seconds},
               {"backward_seconds", t.backward_seconds},
               {"optimizer_seconds", t.optimizer_seconds},
               {"checkpoint_seconds", t.checkpoint_seconds},
               {"tokens_per_second", t.tokens_per_second}};
  if (t.share_of_peak) json["share_of_peak"] = *t.share_of_peak;
  json["memory_bytes"] = t.memory_bytes;
  json["memory_peak_bytes"] = t.memory_peak_bytes;
  if (t.gpu_memory_bytes) json["gpu_memory_bytes"] = *t.gpu_memory_bytes;
  if (t.gpu_memory_peak_bytes) json["gpu_memory_peak_bytes"] = *t.gpu_memory_peak_bytes;
  return json_text(json);
}

LineLog::LineLog(const std::string& folder, const std::string& name, std::uint64_t bytes,
                 const std::optional<std::string>& sha256)
    : folder_(folder), name_(name) {
  const std::string path = join_path(folder, name);
  fd_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd_.valid()) throw Error(Diagnostic("E0513", concat("cannot write ", path, ": ", error_text(errno))));
  char buffer[1 << 16];
  while (bytes_ < bytes) {
    const ssize_t count =
        ::pread(fd_.get(), buffer, std::min<std::uint64_t>(sizeof buffer, bytes - bytes_), static_cast<off_t>(bytes_));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    hash_.update(buffer, static_cast<std::size_t>(count));
    bytes_ += static_cast<std::uint64_t>(count);
  }
  if (bytes > 0 && (bytes_ < bytes || (sha256 && this->sha256() != *sha256)))
    log_warning(Diagnostic("W0501", concat(path, " is not as recorded: ", bytes_, " of ", bytes, " bytes",
                                           bytes_ < bytes ? " found" : ", other content"))
                    .note("training continues; lines of earlier steps may be missing"));
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0)
    throw Error(Diagnostic("E0512", concat("cannot cut ", path, " to its recorded length: ", error_text(errno))));
}

void LineLog::add(const std::string& line) { pending_ += line + "\n"; }

void LineLog::write(bool durable) {
  IoTask task{name_, folder_, pending_.size(), "the last saved step is safe"};
  const auto attempt = [&] {
    if (::lseek(fd_.get(), static_cast<off_t>(bytes_), SEEK_SET) < 0) throw IoFailure{"lseek", errno};
    if (const IoResult result = write_all(fd_.get(), pending_.data(), pending_.size()); result.error)
      throw IoFailure{"write", result.error};
    if (durable && ::fdatasync(fd_.get()) != 0) throw IoFailure{"fdatasync", errno};
  };
  // A half-written line is cut off before the next try. If that fails, so does the try.
  run_io_task(task, attempt, [&] { (void)!::ftruncate(fd_.get(), static_cast<off_t>(bytes_)); });
  hash_.update(pending_);
  bytes_ += pending_.size();
  pending_.clear();
}

std::string LineLog::sha256() const {
  Sha256 copy = hash_;
  return to_hex(copy.finish());
}

}  // namespace shori
