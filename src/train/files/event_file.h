// events/ of a run folder: the numbers of metrics.jsonl and timing.jsonl once more, as TensorBoard reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/train_config.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "src/train/files/event_records.h"

namespace shori {

// The keys of the config that have one value, without paths.
std::map<std::string, HyperParameter> hyperparameters(const TrainConfig& config);

// One file a start: events/events.out.tfevents.<unix seconds>.shori.<process>.0. Readers take the files in the order of
// their names, so the seconds are later than those of any file that is there.
class EventFile {
 public:
  // For a new run. Event files of a start that was killed before its first checkpoint are removed.
  static EventFile create(const std::string& run_folder, const TrainConfig& config);
  // For a run that goes on after `step`. Where there are no events, as in the folder of an earlier version, they are made of
  // its metrics.jsonl, which ends with that step.
  static EventFile resume(const std::string& run_folder, const TrainConfig& config, std::uint64_t step);

  // The scalars and texts of one line. Lines of other types, and keys that are not known, have none.
  void add_metrics(std::string_view line);
  void add_timing(std::string_view line);
  // Appends what was added, as whole records. Throws as run_io_task() does.
  void write();

 private:
  EventFile(const std::string& run_folder, const TrainConfig& config);
  void add_scalar(const JsonValue& line, std::string_view key, std::string_view tag);
  void add_step(const JsonValue& line);
  void add_eval(const JsonValue& line);
  void add_sample(const JsonValue& line);
  void end_samples();

  std::string folder_, name_, pending_, hyperparameters_;
  FileDescriptor fd_;
  std::uint64_t bytes_ = 0, sample_step_ = 0;
  EventTime time_;
  std::map<std::string, std::vector<double>> sample_values_;  // by tag, of the samples of one step
};

}  // namespace shori
