// The files of one run: checkpoints, metrics.jsonl, timing.jsonl, events/, the adapter, and the records run.json and done.json.
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
#include "src/train/files/event_file.h"
#include "src/train/files/metrics.h"
#include "src/train/stage/manifest.h"

namespace shori {

class RunFiles {
 public:
  // `arrays`: what checkpoints hold besides the manifest. `resume_command` is what users type to go on after a stop,
  // `restart_help` is what to do where no checkpoint is usable.
  RunFiles(const PreparedStage& stage, BaseIdentity base, Device device, std::vector<NamedArray> arrays,
           std::string resume_command, std::string restart_help = "");

  // For a new run that begins from the adapter file with SHA-256 `parent`, or from a fresh adapter. Writes nothing, but
  // the size of its checkpoints is known afterwards.
  void plan(const std::optional<std::string>& parent);
  // After plan(): pack_plan.bin, data_report.json, resolved.yaml, run.json, empty logs, and disk space for the first checkpoint.
  void create();
  // For a resumed run: fills the arrays from the newest usable checkpoint, cuts metrics.jsonl to what it names, and
  // returns the state it holds. E0503, E0504, E0506.
  TrainingState load();

  // A line of metrics.jsonl. It is written by save(), or with the times of its step.
  void add_metrics(const std::string& line);
  // The end of a step: a line of timing.jsonl, written before this returns.
  void add_timing(const StepTiming& timing);
  const std::string& resume_command() const { return resume_command_; }
  const std::optional<std::string>& parent() const { return identity_.parent; }
  // E0502 if the disk of `folder` has no space for a checkpoint.
  void check_room(const std::string& folder) const { checkpoints_.check_room(folder); }

  // Writes metrics.jsonl, then a checkpoint of `state` and the arrays, which is pinned if that is due, and also kept in
  // requested/ if the user asked for it. All of it is durable when wait() has returned. `in_background`: write while the
  // caller continues, who must not change the arrays before wait() has returned.
  void save(const TrainingState& state, bool requested, bool in_background);
  // Returns when nothing is being written; throws what the write threw.
  void wait();
  // Pins the checkpoint of `step` again, in case a kill came between its write and its pin.
  void pin(std::uint64_t step) { (void)checkpoints_.pin(step, PinFolder::kPinned); }
  std::uint64_t saved_step() const { return saved_; }      // the last that save() was called for
  std::uint64_t durable_step() const { return durable_; }  // the last that is known to be on the disk

  // The end of a run, in this order: adapter/ with `factors`, the last line of metrics.jsonl, done.json. Each of them
  // exists only if all before it are durable. Returns the SHA-256 of each file of the adapter.
  std::map<std::string, std::string> write_adapter(const TrainingState& state, const std::vector<NamedArray>& factors);
  void write_done(const TrainingState& state, const std::map<std::string, std::string>& adapter_files);

 private:
  void sync_log_names() const;
  Manifest manifest_of(const TrainingState& state) const;

  const PreparedStage& stage_;
  const RunFolder& folder_;
  RunIdentity identity_;
  std::string resume_command_, restart_help_;
  CheckpointStore checkpoints_;
  std::unique_ptr<LineLog> metrics_, timing_;
  std::unique_ptr<EventFile> events_;
  std::uint64_t saved_ = 0, durable_ = 0;
  bool pins_unsettled_ = false;  // pinned/ may hold more than it should: the next save() looks
  CheckpointWriter writer_;      // declared last, so that a write ends before the members that it reads are destroyed
};

}  // namespace shori
