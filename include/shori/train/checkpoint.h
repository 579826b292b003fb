// Checkpoints: one sealed, checksummed safetensors file for each optimizer step, written so that a step once
// acknowledged is never lost.
//
// File format (do not change; version 1): a sealed file (io/sealed_file.h) with magic "SHORICKP" and the step as its
// number. `__metadata__` is {"format":"pt","shori":"checkpoint-1"}. All F32 arrays come before all U8 arrays. The
// manifest has the same length in every checkpoint of a run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shori/io/sealed_file.h"
#include "shori/train/run_folder.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"

namespace shori {

inline constexpr std::uint64_t kCheckpointVersion = 1;

// One checkpoint file, checked against everything it says of itself: container, seal, manifest, and with `check_tensors`
// the SHA-256 of every tensor. `number` is its step. Throws Error E0503 with the reason, E0515 for a newer format.
SealedFile open_checkpoint(const std::string& folder, const std::string& name, bool check_tensors);

// The record that a resume is compared with: run.json, or if that is missing or cannot be read, the manifest of the newest
// checkpoint, which lacks only the algorithms of products on a GPU. nullopt if there is neither.
std::optional<JsonValue> record_to_resume(const RunFolder& run);

enum class PinFolder { kPinned, kRequested };

// The reasons for which a checkpoint stays in pinned/.
struct PinReasons {
  std::uint64_t step = 0;                 // the current one; later files stay: the run reaches their steps again
  std::vector<std::uint64_t> epoch_ends;  // of the whole run, ascending
  std::size_t save_total_limit = 2;       // how many epoch ends up to the current step stay
  std::optional<std::uint64_t> best_step;
  std::function<bool(std::uint64_t)> is_evaluated;  // whether a step is followed by an evaluation
};

// Writes and loads the checkpoints of one run folder.
class CheckpointStore {
 public:
  // `arrays`: the state of the run in file order (all F32 first), the same for every checkpoint. Their memory is read by
  // write() and filled by load_newest().
  CheckpointStore(std::string run_folder, std::vector<NamedArray> arrays);

  // For a new run: how many bytes the manifest's text has before the first step. Later manifests may be up to 4 KiB
  // longer. A resumed run takes the length from the checkpoint that it loads.
  void set_manifest_bytes(std::size_t text_bytes);
  // Opens checkpoints/, removes temporary files of earlier runs, reserves disk space for the next checkpoint. E0502 if
  // there is not enough.
  void prepare();
  // Writes the state as step `step`, durable when it returns. `fields`: the manifest without `tensors`. A full disk
  // pauses (reported as E0502) and writing continues when there is space; a stop while pausing throws E0502. Other I/O
  // errors get three tries with new files, then E0512.
  void write(std::uint64_t step, const Json& fields);
  // Keeps the newest `save_total_limit` rolling checkpoints and deletes older ones; then reserves disk space for the next
  // checkpoint.
  void keep_newest(std::size_t save_total_limit);
  // E0502 if the disk of `folder` has no room for a checkpoint. Leaves no file.
  void check_room(const std::string& folder) const;
  // Frees the reserved space. No checkpoint can be written afterwards.
  void release_next() { discard_next(); }
  // Makes a hard link (a copy if the file system has none) in pinned/, or in requested/, from which the program deletes
  // nothing. Replaces another file of that name. Returns whether it is known to be durable.
  [[nodiscard]] bool pin(std::uint64_t step, PinFolder into);
  // Deletes from pinned/ all but the newest `save_total_limit` epoch ends, and checkpoints that were the best evaluation
  // before another step was. Files with other names or for other reasons stay.
  void drop_outdated_pins(const PinReasons& reasons);

  // The newest checkpoint that passes every check, its arrays copied into the state's memory. Damaged ones are reported
  // (E0503) and moved to damaged/, where two are kept, or all of this load. nullopt if there is no checkpoint file at all;
  // E0506 if none of those found is usable, with `restart_help` as what to do then.
  struct Loaded {
    std::uint64_t step = 0;
    JsonValue manifest;
  };
  std::optional<Loaded> load_newest(const std::string& restart_help);

  // Of every checkpoint of the run; known after set_manifest_bytes() or load_newest().
  std::uint64_t file_size() const { return layout_->file_size(); }

 private:
  void reserve_space(const FileDescriptor& file) const;
  [[noreturn]] void refuse_for_room(const IoFailure& failure, const std::string& folder) const;
  void create_next();
  void discard_next();
  void write_once(std::uint64_t step, const Json& fields);
  void write_content(std::uint64_t step, const Json& fields);
  void load_arrays(const SealedFile& checkpoint);
  // Where the file is now.
  std::string quarantine(const std::string& name, std::vector<std::string>& moved);

  RunFolder run_;
  std::string folder_;  // <run>/checkpoints
  std::vector<NamedArray> arrays_;
  std::optional<SealedLayout> layout_;
  FileDescriptor directory_;
  FileDescriptor next_;  // .next.tmp, empty but with its blocks allocated where the file system can
};

}  // namespace shori
