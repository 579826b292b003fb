// metrics.jsonl: one object per line, only reproducible fields. Two runs of the same config, data and build write the
// same bytes, with or without a resume between. timing.jsonl: the times of the same steps; no hash covers it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/file.h"
#include "shori/util/hash.h"

namespace shori {

struct StepMetrics {
  std::string stage;
  std::uint64_t step = 0;
  double epoch = 0;  // packs trained / packs per epoch
  std::int64_t micro_batches = 0, samples = 0, tokens = 0, targets = 0;
  double loss = 0, grad_norm = 0, clip_factor = 1, learning_rate = 0, update_max = 0;
};
std::string step_line(const StepMetrics& metrics);

struct EvalMetrics {
  std::string stage;
  std::uint64_t step = 0;
  double epoch = 0;
  std::string dataset;
  std::int64_t samples = 0, targets = 0;
  double loss = 0;
  std::map<std::string, double> loss_by_role, loss_by_category;
};
std::string eval_line(const EvalMetrics& metrics);

// One reply to a prompt. `hint`, `bucket`: length asked for and reached; empty: none.
struct SampleMetrics {
  std::string stage;
  std::uint64_t step = 0;
  std::string prompt, preset;
  std::int64_t seed = 0;
  std::string_view hint, bucket;
  std::int64_t tokens = 0;
  std::string stop;
  bool impersonated = false;
  double repetition = 0;
  std::string text;
};
std::string sample_line(const SampleMetrics& metrics);

struct EndMetrics {
  std::string stage;
  std::uint64_t step = 0;
  double epoch = 0;
  std::int64_t tokens = 0, targets = 0;
  std::string adapter_sha256;
};
std::string end_line(const EndMetrics& metrics);

struct StepTiming {
  std::uint64_t step = 0;
  double seconds = 0, forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0, checkpoint_seconds = 0;
  double tokens_per_second = 0;
  std::int64_t memory_bytes = 0, memory_peak_bytes = 0;  // of the process
  // In use on the GPU, and allocated by the program.
  std::optional<std::int64_t> gpu_memory_bytes = {}, gpu_memory_peak_bytes = {};
  std::optional<double> share_of_peak = {};  // see step_flop.h; of cards whose peak is known
};
std::string timing_line(const StepTiming& timing);

// An append-only file of lines that knows its length and SHA-256.
class LineLog {
 public:
  // Opens or creates <folder>/<name> and keeps its first `bytes` bytes; 0 starts with an empty file. If the file is
  // shorter, or those bytes do not have `sha256` (if given), this is reported as W0501 and writing continues after what
  // is there. E0513 if the file cannot be written.
  LineLog(const std::string& folder, const std::string& name, std::uint64_t bytes,
          const std::optional<std::string>& sha256);

  // `line` has no newline. It stays in memory until write().
  void add(const std::string& line);
  // Appends what was added; with `durable` also fdatasync. Throws as run_io_task() does.
  void write(bool durable);
  // Length and hash of what the file holds after the last write().
  std::uint64_t bytes() const { return bytes_; }
  std::string sha256() const;

 private:
  FileDescriptor fd_;
  std::string folder_, name_, pending_;
  std::uint64_t bytes_ = 0;
  Sha256 hash_;
};

}  // namespace shori
