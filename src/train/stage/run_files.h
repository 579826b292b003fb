// The files of one run: checkpoints, metrics.jsonl, timing.jsonl, the adapter, and the records run.json and done.json.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shori/train/checkpoint.h"
#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"
#include "src/train/files/checkpoint_writer.h"
#include "src/train/files/metrics.h"
#include "src/train/stage/manifest.h"

namespace shori {

class RunFiles {
 public:
  // `arrays`: what checkpoints hold besides the manifest. `resume_command` is what users are told to type after a stop.
  RunFiles(const PreparedStage& stage, BaseIdentity base, Device device, std::vector<NamedArray> arrays,
           std::string resume_command);

  // For a new run: pack_plan.bin, data_report.json, run.json, empty logs, and disk space for the first checkpoint.
  // `parent`: SHA-256 of the adapter file that the run begins from, if any.
  void create(const std::optional<std::string>& parent);
  // For a resumed run: fills the arrays from the newest usable checkpoint, cuts metrics.jsonl to what it names, and
  // returns the state it holds. E0503, E0504, E0506.
  TrainingState load();

  LineLog& metrics() { return *metrics_; }
  LineLog& timing() { return *timing_; }
  const std::string& resume_command() const { return resume_command_; }

  // Writes metrics.jsonl, then a checkpoint of `state` and the arrays; both are durable when wait() has returned.
  // `pin`: also keep it in pinned/. `in_background`: write while the caller continues, who must not change the arrays
  // before wait() has returned.
  void save(const TrainingState& state, bool pin, bool in_background);
  // Returns when nothing is being written; throws what the write threw.
  void wait();
  void pin(std::uint64_t step) { checkpoints_.pin(step); }
  std::uint64_t saved_step() const { return saved_; }      // the last that save() was called for
  std::uint64_t durable_step() const { return durable_; }  // the last that is known to be on the disk

  // The end of a run, in this order: adapter/ with `factors`, the last line of metrics.jsonl, done.json. Each of them
  // exists only if all before it are durable. Returns the SHA-256 of each file of the adapter.
  std::map<std::string, std::string> write_adapter(const TrainingState& state, const std::vector<NamedArray>& factors);
  void write_done(const std::map<std::string, std::string>& adapter_files);

 private:
  Manifest manifest_of(const TrainingState& state) const;

  const PreparedStage& stage_;
  const RunFolder& folder_;
  RunIdentity identity_;
  std::string resume_command_;
  CheckpointStore checkpoints_;
  std::unique_ptr<LineLog> metrics_, timing_;
  std::uint64_t saved_ = 0, durable_ = 0;
  CheckpointWriter writer_;  // declared last, so that a write ends before the members that it reads are destroyed
};

}  // namespace shori
