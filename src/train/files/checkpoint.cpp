#include "shori/train/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ranges>
#include <utility>

#include "shori/train/run_folder.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/math.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

constexpr SealedFormat kFormat{.magic = "SHORICKP", .label = "checkpoint-1", .version = kCheckpointVersion};
constexpr std::size_t kMaxDamaged = 2;

Diagnostic damage_report(const std::string& path, const DamagedFile& damage) {
  return Diagnostic("E0503", concat("checkpoint ", file_name(path), " is damaged: ", damage.reason)).at(path);
}

void check_version(const SealedFile& checkpoint, const std::string& path) {
  if (checkpoint.version <= kCheckpointVersion) return;
  throw Error(Diagnostic("E0515", concat("checkpoint format ", checkpoint.version, " is newer than this program (",
                                         kCheckpointVersion, ")"))
                  .at(path)
                  .help("use the program that wrote it, or a newer one"));
}

void check_manifest(const SealedFile& checkpoint, const std::string& name) {
  const JsonValue* step = checkpoint.manifest.find("step");
  if (!step || step->as_unsigned() != checkpoint.number ||
      checkpoint_step(name).value_or(checkpoint.number) != checkpoint.number)
    throw DamagedFile{"name, seal and manifest disagree about the step"};
  const JsonValue* listed = checkpoint.manifest.find("tensors");
  if (!listed || listed->members.size() != checkpoint.arrays().size())
    throw DamagedFile{"the manifest lists other tensors"};
}

// Everything but the arrays' bytes is checked.
SealedFile open_sealed_checkpoint(const std::string& folder, const std::string& name) {
  SealedFile checkpoint = open_sealed_file(folder, name, kFormat.magic);
  check_version(checkpoint, join_path(folder, name));
  check_manifest(checkpoint, name);
  return checkpoint;
}

// Steps of the checkpoints in a folder, ascending.
std::vector<std::uint64_t> steps_in(const std::string& folder) {
  std::vector<std::uint64_t> steps;
  for (const std::string& name : list_directory(folder))
    if (const auto step = checkpoint_step(name)) steps.push_back(*step);
  std::ranges::sort(steps);
  return steps;
}

}  // namespace

SealedFile open_checkpoint(const std::string& folder, const std::string& name, bool check_tensors) {
  try {
    SealedFile checkpoint = open_sealed_checkpoint(folder, name);
    if (check_tensors) check_arrays(checkpoint);
    return checkpoint;
  } catch (const DamagedFile& damage) {
    throw Error(damage_report(join_path(folder, name), damage));
  }
}

std::optional<JsonValue> record_to_resume(const RunFolder& run) {
  if (auto record = run.readable_run()) return record;
  const auto newest = run.newest_checkpoint();
  if (!newest) return std::nullopt;
  return open_checkpoint(run.checkpoints(), checkpoint_name(*newest), false).manifest;
}

CheckpointStore::CheckpointStore(std::string run_folder, std::vector<NamedArray> arrays)
    : run_(std::move(run_folder)), folder_(run_.checkpoints()), arrays_(std::move(arrays)) {
  SHORI_CHECK(std::ranges::is_partitioned(
                  arrays_, [](FileDType dtype) { return dtype == FileDType::kF32; }, &NamedArray::dtype),
              "F32 tensors come before U8 tensors in a checkpoint");
}

// Of each array the manifest has a line of name and digest. At least 4 KiB are left for numbers that grow.
void CheckpointStore::set_manifest_bytes(std::size_t text_bytes) {
  constexpr std::size_t kPage = 4096, kDigestAndPunctuation = 64 + 6;
  for (const NamedArray& array : arrays_) text_bytes += array.name.size() + kDigestAndPunctuation;
  layout_.emplace(kFormat, arrays_, round_up(text_bytes + kPage, kPage));
}

void CheckpointStore::prepare() {
  SHORI_CHECK(layout_, "the size of a checkpoint is not known yet");
  make_directories(folder_);
  directory_ = open_directory(folder_);
  for (const std::string& name : list_directory(folder_))
    if (name.starts_with(".") && name.ends_with(".tmp")) unlinkat(directory_.get(), name.c_str(), 0);
  try {
    create_next();
  } catch (const IoFailure& failure) {
    discard_next();
    refuse_for_room(failure, folder_);
  }
}

void CheckpointStore::refuse_for_room(const IoFailure& failure, const std::string& folder) const {
  throw Error(Diagnostic(is_out_of_space(failure.error) ? "E0502" : "E0513",
                         concat("no room for a checkpoint of ", format_bytes(file_size()), " in ", folder))
                  .note(concat(failure.call, ": ", error_text(failure.error)))
                  .help("free space, or another `output_dir`"));
}

void CheckpointStore::check_room(const std::string& folder) const {
  // A file without a name, gone when it is closed. Where there are none, prepare() finds out.
  const FileDescriptor file(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
  if (!file.valid()) return;
  try {
    reserve_space(file);
  } catch (const IoFailure& failure) {
    refuse_for_room(failure, folder);
  }
}

// Blocks reserved now cannot be taken by another program before they are written.
void CheckpointStore::reserve_space(const FileDescriptor& file) const {
  const int error = fallocate(file.get(), 0, 0, static_cast<off_t>(file_size())) == 0 ? 0 : errno;
  if (error != 0 && error != EOPNOTSUPP && error != ENOSYS && error != EINVAL) throw IoFailure{"fallocate", error};
}

void CheckpointStore::create_next() {
  next_ = FileDescriptor(
      openat(directory_.get(), kNextCheckpoint, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!next_.valid()) throw IoFailure{"open", errno};
  reserve_space(next_);
}

void CheckpointStore::discard_next() {
  next_.close();
  unlinkat(directory_.get(), kNextCheckpoint, 0);
}

void CheckpointStore::write(std::uint64_t step, const Json& fields) {
  const IoTask task{checkpoint_name(step), folder_, file_size(),
                    concat("step ", step, " is held in memory; checkpoints before it are safe")};
  // A failed fsync may have dropped the pages and marked them clean: that file is discarded and never tried again.
  run_io_task(task, [&] { write_once(step, fields); }, [&] { discard_next(); });
}

void CheckpointStore::write_once(std::uint64_t step, const Json& fields) {
  if (!next_.valid()) create_next();
  write_content(step, fields);
  struct stat status{};
  if (fstat(next_.get(), &status) != 0) throw IoFailure{"fstat", errno};
  SHORI_CHECK(static_cast<std::uint64_t>(status.st_size) == file_size(), "checkpoint has another size than planned");
  if (const IoResult result = sync_file(next_.get()); result.error) throw IoFailure{"fsync", result.error};
  if (const int error = next_.close()) throw IoFailure{"close", error};
  const std::string name = checkpoint_name(step);
  const IoResult renamed = rename_no_replace(directory_.get(), kNextCheckpoint, name.c_str());
  SHORI_CHECK(renamed.error != EEXIST, name + " exists already");
  if (renamed.error) throw IoFailure{"rename", renamed.error};
  if (const IoResult result = sync_file(directory_.get()); result.error) {
    unlinkat(directory_.get(), name.c_str(), 0);
    throw IoFailure{"fsync of the folder", result.error};
  }
}

void CheckpointStore::write_content(std::uint64_t step, const Json& fields) {
  SealedWriter writer(*layout_, [this](const void* data, std::size_t bytes) {
    if (const IoResult result = write_all(next_.get(), data, bytes); result.error)
      throw IoFailure{"write", result.error};
  });
  for (const NamedArray& array : arrays_) writer.append(array.data, array.bytes());
  writer.finish(fields, step);
}

void CheckpointStore::keep_newest(std::size_t save_total_limit) {
  const std::vector<std::uint64_t> steps = steps_in(folder_);
  const std::size_t kept = std::max<std::size_t>(save_total_limit, 2);
  for (std::size_t i = 0; i + kept < steps.size(); ++i)
    unlinkat(directory_.get(), checkpoint_name(steps[i]).c_str(), 0);
  try {
    if (!next_.valid()) create_next();
  } catch (const IoFailure& failure) {
    // The step is safe already; the next save tries again and pauses if there is still no room.
    discard_next();
    log_info(concat("could not reserve disk space for the next checkpoint (", failure.call, ": ",
                    error_text(failure.error), ")"));
  }
}

std::optional<CheckpointStore::Loaded> CheckpointStore::load_newest(const std::string& restart_help) {
  const std::vector<std::uint64_t> steps = is_directory(folder_) ? steps_in(folder_) : std::vector<std::uint64_t>();
  if (steps.empty()) return std::nullopt;
  // They are logged when it is known what follows from them.
  std::vector<Diagnostic> damaged;
  std::vector<std::string> moved;
  const auto log_damaged = [&damaged](const std::string& help) {
    for (Diagnostic& report : damaged) log_error(help.empty() ? report : report.help(help));
  };
  for (const std::uint64_t step : steps | std::views::reverse) {
    const std::string name = checkpoint_name(step);
    try {
      SealedFile checkpoint = open_sealed_checkpoint(folder_, name);
      load_arrays(checkpoint);
      log_damaged(concat("nothing to do now: the run goes on from step ", checkpoint.number));
      return Loaded{checkpoint.number, std::move(checkpoint.manifest)};
    } catch (const DamagedFile& damage) {
      damaged.push_back(damage_report(join_path(folder_, name), damage));
      damaged.back().note("it is now " + quarantine(name, moved));
    } catch (const Error&) {
      log_damaged("");
      throw;
    }
  }
  log_damaged("");
  Diagnostic none("E0506", folder_ + " has no usable checkpoint");
  for (const Diagnostic& report : damaged) none.note(report.message);
  throw Error(none.help(restart_help));
}

void CheckpointStore::load_arrays(const SealedFile& checkpoint) {
  const std::span<const TensorEntry> found = checkpoint.arrays();
  if (found.size() != arrays_.size()) throw DamagedFile{"it holds the tensors of another run"};
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    const NamedArray& array = arrays_[i];
    if (found[i].name != array.name || found[i].shape != array.shape || found[i].dtype != array.dtype)
      throw DamagedFile{concat("tensor ", found[i].name, " is not what this run expects")};
    checkpoint.file.read(found[i], 0, array.data, array.bytes());
    if (to_hex(sha256(array.data, array.bytes())) != checkpoint.recorded_sha256(array.name))
      throw DamagedFile{array.name + ": checksum differs"};
  }
  layout_.emplace(kFormat, arrays_, checkpoint.file.find(kManifestName)->bytes());
}

std::string CheckpointStore::quarantine(const std::string& name, std::vector<std::string>& moved) {
  const std::string damaged = run_.damaged();
  make_directories(damaged);
  // An older file of the same name gives way: the newest evidence is kept.
  if (::rename(join_path(folder_, name).c_str(), join_path(damaged, name).c_str()) != 0) {
    log_info(concat("could not move ", name, " to damaged/: ", error_text(errno)));
    return join_path(folder_, name);
  }
  moved.push_back(name);
  // What this load moved stays, however much it is: the messages say where it is.
  std::vector<std::string> older = list_directory(damaged);
  std::erase_if(older, [&](const std::string& file) { return std::ranges::find(moved, file) != moved.end(); });
  for (std::size_t i = 0; i < older.size() && older.size() - i + moved.size() > kMaxDamaged; ++i)
    ::unlink(join_path(damaged, older[i]).c_str());
  return join_path(damaged, name);
}

}  // namespace shori
