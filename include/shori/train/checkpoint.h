// Checkpoints: one sealed, checksummed safetensors file for each optimizer step, written so that a step once
// acknowledged is never lost.
//
// File format (do not change; version 1). A valid safetensors file, `__metadata__` =
// {"format":"pt","shori":"checkpoint-1"}, tensors in file order: all F32, then all U8, then `shori.manifest` U8 [m]
// (canonical JSON padded with spaces, m fixed for a run), last `shori.seal` U8 [64]:
//   0 "SHORICKP" | 8 u64 LE file size | 16 u64 LE step | 24 SHA-256(bytes before the tensor data + manifest bytes) | 56
//   u64 LE version = 1
// The manifest holds the SHA-256 of every other tensor, so every bit of the file is covered.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/util/file.h"
#include "shori/util/json.h"

namespace shori {

inline constexpr std::uint64_t kCheckpointVersion = 1;

// A tensor of the state. `data` is read when writing and filled when loading.
struct StateTensor {
  std::string name;
  bool is_f32 = true;  // F32, else U8
  std::vector<std::int64_t> shape;
  void* data = nullptr;
  std::size_t bytes = 0;
};

// One checkpoint file checked against everything it says of itself (container, seal, manifest; with `check_tensors`
// every tensor's SHA-256 too). Throws Error E0503 with the reason, E0515 for a newer format.
struct VerifiedCheckpoint {
  SafetensorsFile file;
  std::uint64_t step = 0;
  JsonValue manifest;
};
VerifiedCheckpoint open_checkpoint(const std::string& folder, const std::string& name, bool check_tensors);

// Writes and loads the checkpoints of one run folder.
class CheckpointStore {
 public:
  // `layout`: the tensors of the run in file order (all F32 first); the same for every checkpoint. `manifest_capacity`
  // bytes are set aside for the manifest.
  CheckpointStore(std::string run_folder, std::vector<StateTensor> layout, std::size_t manifest_capacity);

  // Opens checkpoints/, removes temporary files of earlier runs, sets space aside for the next checkpoint. E0502 if
  // there is no room.
  void prepare();
  // Writes the state as step `step`, durable when it returns. `fields`: the manifest without `tensors`. A full disk
  // pauses (told by E0502) and goes on when there is room; a stop while pausing throws E0502. Other I/O errors get
  // three tries with new files, then E0512.
  void write(std::uint64_t step, const CanonicalJson& fields);
  // Keeps the newest `save_total_limit` rolling checkpoints, deletes older ones; then sets space aside for the next
  // checkpoint.
  void keep_newest(std::size_t save_total_limit);
  // Gives back the space set aside: no further checkpoint will be written.
  void release_next() { discard_next(); }
  // Hard link (copy where links are refused) in pinned/; never deleted by the program.
  void pin(std::uint64_t step);

  // The newest checkpoint that passes every check, its tensors copied into the layout's memory. Damaged ones are told
  // (E0503), moved to damaged/ (newest two kept). nullopt if there is no checkpoint file at all; E0506 if none of those
  // found is usable.
  struct Loaded {
    std::uint64_t step = 0;
    JsonValue manifest;
  };
  std::optional<Loaded> load_newest();

  std::uint64_t file_size() const { return file_size_; }

 private:
  void create_next();
  void discard_next();
  void write_once(std::uint64_t step, const CanonicalJson& fields);
  void write_content(std::uint64_t step, const CanonicalJson& fields);
  void load_into_layout(const VerifiedCheckpoint& checkpoint);
  void quarantine(const std::string& name);

  std::string folder_;  // <run>/checkpoints
  std::vector<StateTensor> layout_;
  std::size_t manifest_capacity_;
  std::string header_;  // 8-byte length and JSON
  std::uint64_t file_size_ = 0;
  FileDescriptor directory_;
  FileDescriptor next_;  // .next.tmp, empty but with its blocks allocated where the file system can
};

// Space for a manifest: its present text, with room for numbers to grow, rounded up to 4,096 bytes with at least 4 KiB
// to spare.
std::size_t manifest_capacity_for(std::size_t text_bytes);

}  // namespace shori
