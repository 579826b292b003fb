#include "src/train/files/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

void write_map(JsonWriter& json, const char* name, const std::map<std::string, double>& values) {
  json.key(name).begin_object();
  for (const auto& [key, value] : values) json.field(key, value);
  json.end_object();
}

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
  JsonWriter json;
  json.begin_object().field("type", "step").field("stage", m.stage).field("step", m.step).field("epoch", m.epoch);
  json.field("micro_batches", m.micro_batches)
      .field("samples", m.samples)
      .field("tokens", m.tokens)
      .field("targets", m.targets);
  json.field("loss", m.loss).field("grad_norm", m.grad_norm).field("clip_factor", m.clip_factor);
  json.field("learning_rate", m.learning_rate).field("update_max", m.update_max).end_object();
  return json.take();
}

std::string eval_line(const EvalMetrics& m) {
  JsonWriter json;
  json.begin_object().field("type", "eval").field("stage", m.stage).field("step", m.step).field("epoch", m.epoch);
  json.field("dataset", m.dataset).field("samples", m.samples).field("targets", m.targets).field("loss", m.loss);
  json.field("perplexity", std::exp(std::min(m.loss, 709.0)));  // beyond it the double overflows
  write_map(json, "loss_by_role", m.loss_by_role);
  write_map(json, "loss_by_category", m.loss_by_category);
  return json.end_object().take();
}

std::string end_line(const EndMetrics& m) {
  JsonWriter json;
  json.begin_object().field("type", "end").field("stage", m.stage).field("step", m.step).field("epoch", m.epoch);
  json.field("tokens", m.tokens).field("targets", m.targets).field("adapter_sha256", m.adapter_sha256).end_object();
  return json.take();
}

std::string timing_line(const StepTiming& t) {
  JsonWriter json;
  json.begin_object().field("step", t.step).field("time", utc_now()).field("seconds", t.seconds);
  json.field("forward_seconds", t.forward_seconds).field("backward_seconds", t.backward_seconds);
  json.field("optimizer_seconds", t.optimizer_seconds).field("checkpoint_seconds", t.checkpoint_seconds);
  json.field("tokens_per_second", t.tokens_per_second).key("share_of_peak").null();
  json.field("memory_bytes", t.memory_bytes).field("memory_peak_bytes", t.memory_peak_bytes).end_object();
  return json.take();
}

LineLog::LineLog(const std::string& folder, const std::string& name, std::uint64_t bytes,
                 const std::optional<std::string>& sha256)
    : folder_(folder), name_(name) {
  const std::string path = join_path(folder, name);
  fd_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd_.valid()) throw Error(Diagnostic("E0513", "cannot write " + path + ": " + error_text(errno)));
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
    log_warning(Diagnostic("W0501", path + " is not as recorded: " + std::to_string(bytes_) + " of " +
                                        std::to_string(bytes) + " bytes" +
                                        (bytes_ < bytes ? " found" : ", other content"))
                    .note("training goes on; lines of earlier steps may be missing"));
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0)
    throw Error(Diagnostic("E0512", "cannot cut " + path + " to its recorded length: " + error_text(errno)));
}

void LineLog::add(const std::string& line) { pending_ += line + "\n"; }

void LineLog::write(bool durable) {
  IoTask task{name_, folder_, static_cast<double>(pending_.size()), "the last saved step is safe"};
  const auto attempt = [&] {
    if (::lseek(fd_.get(), static_cast<off_t>(bytes_), SEEK_SET) < 0) throw IoFailure{"lseek", errno};
    if (const IoResult result = write_all(fd_.get(), pending_.data(), pending_.size()); result.error)
      throw IoFailure{"write", result.error};
    if (durable && ::fdatasync(fd_.get()) != 0) throw IoFailure{"fdatasync", errno};
  };
  // A half-written line is cut off before the next try; a failure to do so shows itself in that try.
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
