// The folder of one run (one stage): its lock, the names in it, and the small files that are written once.
//
//   run.lock  run.json  pack_plan.bin  data_report.json  metrics.jsonl  timing.jsonl  train.log
//   events/  report.html  loss.svg  resolved.yaml
//   checkpoints/{.next.tmp, step-NNNNNN.safetensors, pinned/, requested/, damaged/}   adapter/   done.json
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shori/util/file.h"
#include "shori/util/json.h"

namespace shori {

// An exclusive flock on <folder>/run.lock. The kernel releases it when the process ends, however it ends. The file is
// never deleted.
class RunLock {
 public:
  // Creates the folder if needed. E0501 (exit 7) if another program holds the lock, E0513 if the folder cannot be used or
  // is a link, E0514 if the file system has no locks.
  static RunLock take(const std::string& folder);

 private:
  explicit RunLock(FileDescriptor fd) : fd_(std::move(fd)) {}
  FileDescriptor fd_;
};

// Who uses a run folder, found without taking its lock.
struct LockState {
  enum Kind {
    kFree,
    kHeld,
    kElsewhere,  // another machine had it last, whose locks cannot be seen from here
  };
  Kind kind = kFree;
  std::string owner;  // "shori-train, process 12 on host, since 2026-01-31T12:00:00"; escaped
};
LockState lock_state(const std::string& folder);

class RunFolder {
 public:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return join_path(path_, name); }
  std::string checkpoints() const { return file("checkpoints"); }
  std::string pinned() const { return join_path(checkpoints(), "pinned"); }        // epoch ends and the best evaluation
  std::string requested() const { return join_path(checkpoints(), "requested"); }  // by SIGUSR1
  std::string damaged() const { return join_path(checkpoints(), "damaged"); }
  std::string adapter() const { return file("adapter"); }

  // Number of the newest checkpoint file by name; nullopt if there is none.
  std::optional<std::uint64_t> newest_checkpoint() const;
  // Parsed done.json / run.json; nullopt if absent. E0506 if it cannot be read.
  std::optional<JsonValue> read_done() const { return read_json("done.json"); }
  std::optional<JsonValue> read_run() const { return read_json("run.json"); }
  // As read_run(), but nullopt as well if it cannot be read.
  std::optional<JsonValue> readable_run() const;
  // Atomic and durable.
  void write(const std::string& name, const std::string& content) const;

 private:
  std::optional<JsonValue> read_json(const std::string& name) const;
  std::string path_;
};

// Whether the folder holds a run: it has a run.json.
bool is_run_folder(const std::string& path);
// The run folders in the folder of a recipe, by name, without those that were moved aside.
std::vector<std::string> stage_folders_in(const std::string& path);

// The folder that `output_dir` names. A link of this user's own is followed, so that a run may be moved to another disk; a
// link of anyone else is left for RunLock::take() to refuse.
std::string run_folder_path(const std::string& output_dir);

inline constexpr char kNextCheckpoint[] = ".next.tmp";  // in checkpoints/: the room that is reserved for the next one

// "step-000118.safetensors" <-> 118. Only names of exactly this form (6 to 12 digits) are checkpoints.
std::string checkpoint_name(std::uint64_t step);
std::optional<std::uint64_t> checkpoint_step(const std::string& name);

// Moves `folder` to the first free of <folder>.old-1, .old-2, ...; returns the new name. Nothing is deleted.
std::string move_aside(const std::string& folder);

}  // namespace shori
