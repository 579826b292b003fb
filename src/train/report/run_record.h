// What a run folder says of its run, read without its lock: also while the run goes on, and from a copy of the folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shori/util/json.h"

namespace shori {

struct StepRecord {
  std::uint64_t step = 0;
  double epoch = 0, loss = 0, grad_norm = 0, learning_rate = 0;
  std::int64_t tokens = 0, targets = 0;
};

struct EvalRecord {
  std::uint64_t step = 0;
  std::string dataset;
  double loss = 0, perplexity = 0;
  std::vector<std::pair<std::string, double>> by_role, by_category;
};

struct SampleRecord {
  std::uint64_t step = 0;
  std::string prompt, preset, text;
};

struct TimingRecord {
  std::uint64_t step = 0;
  double seconds = 0, tokens_per_second = 0;  // seconds: the step with its checkpoint
  double tokens = 0;
  std::int64_t memory_peak_bytes = 0;                            // of the process, in the memory of the machine
  std::int64_t gpu_memory_bytes = 0, gpu_memory_peak_bytes = 0;  // in use, and of the program's own; 0 on a CPU
  double share_of_peak = 0;                                      // 0: not known
  std::int64_t memory_in_use() const { return gpu_memory_bytes > 0 ? gpu_memory_bytes : memory_peak_bytes; }
};

struct RunRecord {
  std::string folder, stage;
  std::optional<JsonValue> run, done;  // run.json, done.json
  std::uint64_t total_steps = 0;       // of pack_plan.bin; 0: unknown
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
  std::vector<SampleRecord> samples;
  std::vector<TimingRecord> timings;  // the last of each step; the file may be absent
  std::string adapter_sha256;         // of the last line of a finished run

  std::uint64_t last_step() const;
  // The evaluations of a data set, in the order of the steps.
  std::map<std::string, std::vector<const EvalRecord*>> evals_by_dataset() const;
  std::int64_t tokens() const;                // trained, with those of repeated epochs
  double seconds() const;                     // of all steps that timing.jsonl has
  std::int64_t memory_peak_bytes() const;     // of the GPU where there is one, else of the process; 0: not known
  const EvalRecord* best_evaluation() const;  // the lowest loss of any data set; null if there is none
  std::string loss_span() const;              // "10.8201 to 9.9412": first and last step; "none"
  // Mean seconds of the last 20 steps; 0 if none is known.
  double seconds_per_step() const;
  // Of the same steps; 0 if none is known.
  double tokens_per_second() const;
};

std::string loss_text(double loss);  // "9.9412"

// Mean seconds of a token in the last 20 steps of the run in this folder; nullopt if there is none, or no time is known.
std::optional<double> seconds_per_token_of(const std::string& folder);

// Lines that are half-written, of other types or without a key are skipped. E0506 if run.json or done.json is damaged.
RunRecord read_run_record(const std::string& folder);

// `path` if it is a run folder, else the run folders of the stages in it, each after the one that it begins from. E0510
// if there is none.
std::vector<std::string> run_folders_in(const std::string& path);

}  // namespace shori
