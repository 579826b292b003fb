#include "shori/train/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "shori/io/seal.h"
#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

constexpr char kNextName[] = ".next.tmp";
constexpr std::string_view kMagic = "SHORICKP";
constexpr std::size_t kDamagedKept = 2;

std::vector<SafetensorsPlan> plan_file(const std::vector<StateTensor>& layout, std::size_t manifest_capacity) {
  std::vector<SafetensorsPlan> plan;
  bool seen_u8 = false;
  for (const StateTensor& tensor : layout) {
    SHORI_CHECK(!(seen_u8 && tensor.is_f32), "F32 tensors come before U8 tensors in a checkpoint");
    seen_u8 |= !tensor.is_f32;
    plan.push_back({tensor.name, tensor.is_f32 ? FileDType::kF32 : FileDType::kU8, tensor.shape});
  }
  plan.push_back({kManifestName, FileDType::kU8, {static_cast<std::int64_t>(manifest_capacity)}});
  plan.push_back({kSealName, FileDType::kU8, {static_cast<std::int64_t>(kSealBytes)}});
  return plan;
}

[[noreturn]] void throw_damaged(const std::string& path, const std::string& reason) {
  throw Error(Diagnostic("E0503", "checkpoint " + file_name(path) + " is damaged: " + reason).at(path));
}

std::string read_tensor(const SafetensorsFile& file, const TensorEntry& entry) {
  std::string bytes(entry.end - entry.begin, '\0');
  file.read(entry, 0, bytes.data(), bytes.size());
  return bytes;
}

std::string tensor_sha256(const SafetensorsFile& file, const TensorEntry& entry) {
  constexpr std::uint64_t kPiece = 4u << 20;
  std::vector<std::uint8_t> buffer(std::min<std::uint64_t>(kPiece, entry.end - entry.begin));
  Sha256 hash;
  for (std::uint64_t done = 0; done < entry.end - entry.begin;) {
    const std::size_t count = std::min<std::uint64_t>(kPiece, entry.end - entry.begin - done);
    file.read(entry, done, buffer.data(), count);
    hash.update(buffer.data(), count);
    done += count;
  }
  return to_hex(hash.finish());
}

JsonValue parse_manifest(const std::string& path, const std::string& manifest) {
  JsonProblem problem;
  auto value = parse_json(manifest, {.bytes = manifest.size(), .depth = 8}, problem);
  if (!value || !value->is_object()) throw_damaged(path, "the manifest cannot be read: " + problem.message);
  return std::move(*value);
}

// Seal against file, header and manifest. Returns the step it names.
std::uint64_t check_seal(const SafetensorsFile& file, const std::string& path, const std::string& manifest_text,
                         const JsonValue& manifest) {
  const std::string seal = read_tensor(file, *file.find(kSealName));
  if (!seal.starts_with(kMagic)) throw_damaged(path, "the seal is missing (the file was not finished)");
  const std::uint64_t step = seal_number(seal), version = seal_version(seal);
  std::string header(file.data_start(), '\0');
  file.file().read_at(0, header.data(), header.size());
  if (seal != make_seal({kMagic, file.file().size(), step, version}, header, manifest_text))
    throw_damaged(path, "the seal does not match the file");
  // The version is outside the digest: only a manifest that agrees makes another format of what may be a flipped bit.
  const JsonValue* format = manifest.find("format");
  if (!format || format->as_unsigned() != version) throw_damaged(path, "seal and manifest disagree about the format");
  if (version > kCheckpointVersion)
    throw Error(Diagnostic("E0515", "checkpoint format " + std::to_string(version) + " is newer than this program (" +
                                        std::to_string(kCheckpointVersion) + ")")
                    .at(path)
                    .help("use the program that wrote it, or a newer one"));
  return step;
}

const std::string& recorded_sha256(const JsonValue& manifest, const std::string& path, const std::string& name) {
  const JsonValue* tensors = manifest.find("tensors");
  const JsonValue* sha = tensors ? tensors->find(name) : nullptr;
  if (!sha || !sha->is_string()) throw_damaged(path, "the manifest has no SHA-256 of " + name);
  return sha->text;
}

bool is_control_tensor(const std::string& name) { return name == kManifestName || name == kSealName; }

}  // namespace

std::size_t manifest_capacity_for(std::size_t text_bytes) { return (text_bytes + 4096 + 4095) / 4096 * 4096; }

VerifiedCheckpoint open_checkpoint(const std::string& folder, const std::string& name, bool check_tensors) {
  const std::string path = join_path(folder, name);
  VerifiedCheckpoint result{[&] {
                              try {
                                return SafetensorsFile::open(InputFile::open_in(folder, name, "E0506"));
                              } catch (const Error& error) {
                                throw_damaged(path, error.diagnostics().front().message);
                              }
                            }(),
                            0,
                            {}};
  const SafetensorsFile& file = result.file;
  const auto& tensors = file.tensors();
  if (tensors.size() < 2 || tensors[tensors.size() - 2].name != kManifestName || tensors.back().name != kSealName ||
      tensors.back().end - tensors.back().begin != kSealBytes)
    throw_damaged(path, "manifest and seal are not at its end");
  const std::string manifest = read_tensor(file, tensors[tensors.size() - 2]);
  result.manifest = parse_manifest(path, manifest);
  result.step = check_seal(file, path, manifest, result.manifest);
  const JsonValue* step = result.manifest.find("step");
  if (!step || step->as_unsigned() != result.step || checkpoint_step(name).value_or(result.step) != result.step)
    throw_damaged(path, "name, seal and manifest disagree about the step");
  const JsonValue* listed = result.manifest.find("tensors");
  if (!listed || listed->members.size() + 2 != tensors.size()) throw_damaged(path, "the manifest lists other tensors");
  for (const TensorEntry& entry : tensors)
    if (check_tensors && !is_control_tensor(entry.name) &&
        tensor_sha256(file, entry) != recorded_sha256(result.manifest, path, entry.name))
      throw_damaged(path, entry.name + ": checksum differs");
  return result;
}

CheckpointStore::CheckpointStore(std::string run_folder, std::vector<StateTensor> layout, std::size_t manifest_capacity)
    : folder_(join_path(run_folder, "checkpoints")), layout_(std::move(layout)), manifest_capacity_(manifest_capacity) {
  const auto plan = plan_file(layout_, manifest_capacity_);
  header_ = make_safetensors_header(plan, {{"format", "pt"}, {"shori", "checkpoint-1"}});
  file_size_ = header_.size() + kSealBytes + manifest_capacity_;
  for (const StateTensor& tensor : layout_) file_size_ += tensor.bytes;
}

void CheckpointStore::prepare() {
  make_directories(folder_);
  directory_ = open_directory(folder_);
  for (const std::string& name : list_directory(folder_))
    if (name.starts_with(".") && name.ends_with(".tmp")) unlinkat(directory_.get(), name.c_str(), 0);
  try {
    create_next();
  } catch (const IoFailure& failure) {
    discard_next();
    Diagnostic diagnostic(
        is_out_of_space(failure.error) ? "E0502" : "E0513",
        "no room for a checkpoint of " + format_bytes(static_cast<double>(file_size_)) + " in " + folder_);
    throw Error(
        diagnostic.note(failure.call + ": " + error_text(failure.error)).help("free space, or another `output_dir`"));
  }
}

void CheckpointStore::create_next() {
  next_ =
      FileDescriptor(openat(directory_.get(), kNextName, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!next_.valid()) throw IoFailure{"open", errno};
  // Blocks set aside now cannot be taken by another program before the next save.
  int error = fallocate(next_.get(), 0, 0, static_cast<off_t>(file_size_)) == 0 ? 0 : errno;
  if (error != 0 && error != EOPNOTSUPP && error != ENOSYS && error != EINVAL) throw IoFailure{"fallocate", error};
}

void CheckpointStore::discard_next() {
  next_.close();
  unlinkat(directory_.get(), kNextName, 0);
}

void CheckpointStore::write(std::uint64_t step, const CanonicalJson& fields) {
  IoTask task{checkpoint_name(step), folder_, static_cast<double>(file_size_),
              "step " + std::to_string(step) + " is held in memory; checkpoints before it are safe"};
  // A failed fsync may have dropped the pages and marked them clean: that file is discarded and never tried again.
  run_io_task(task, [&] { write_once(step, fields); }, [&] { discard_next(); });
}

void CheckpointStore::write_once(std::uint64_t step, const CanonicalJson& fields) {
  if (!next_.valid()) create_next();
  write_content(step, fields);
  struct stat status{};
  if (fstat(next_.get(), &status) != 0) throw IoFailure{"fstat", errno};
  SHORI_CHECK(static_cast<std::uint64_t>(status.st_size) == file_size_, "checkpoint has another size than planned");
  if (const IoResult result = sync_file(next_.get()); result.error) throw IoFailure{"fsync", result.error};
  if (const int error = next_.close()) throw IoFailure{"close", error};
  const std::string name = checkpoint_name(step);
  const IoResult renamed = rename_no_replace(directory_.get(), kNextName, name.c_str());
  SHORI_CHECK(renamed.error != EEXIST, name + " exists already");
  if (renamed.error) throw IoFailure{"rename", renamed.error};
  if (const IoResult result = sync_file(directory_.get()); result.error) {
    unlinkat(directory_.get(), name.c_str(), 0);
    throw IoFailure{"fsync of the folder", result.error};
  }
}

void CheckpointStore::write_content(std::uint64_t step, const CanonicalJson& fields) {
  const auto write_or_throw = [this](const void* data, std::size_t bytes) {
    if (const IoResult result = write_all(next_.get(), data, bytes); result.error)
      throw IoFailure{"write", result.error};
  };
  write_or_throw(header_.data(), header_.size());
  CanonicalJson hashes = CanonicalJson::object();
  for (const StateTensor& tensor : layout_) {
    write_or_throw(tensor.data, tensor.bytes);
    hashes.set(tensor.name, CanonicalJson::string(to_hex(sha256(tensor.data, tensor.bytes))));
  }
  CanonicalJson manifest = fields;
  std::string text = manifest.set("tensors", std::move(hashes)).text();
  SHORI_CHECK(text.size() <= manifest_capacity_, "the manifest outgrew the space planned for it");
  text.resize(manifest_capacity_, ' ');
  write_or_throw(text.data(), text.size());
  const std::string seal = make_seal({kMagic, file_size_, step, kCheckpointVersion}, header_, text);
  write_or_throw(seal.data(), seal.size());
}

void CheckpointStore::keep_newest(std::size_t save_total_limit) {
  std::vector<std::uint64_t> steps;
  for (const std::string& name : list_directory(folder_))
    if (const auto step = checkpoint_step(name)) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  while (steps.size() > std::max<std::size_t>(save_total_limit, 2)) {
    unlinkat(directory_.get(), checkpoint_name(steps.front()).c_str(), 0);
    steps.erase(steps.begin());
  }
  try {
    if (!next_.valid()) create_next();
  } catch (const IoFailure& failure) {
    // The step is safe already; the next save tries again and pauses if there is still no room.
    discard_next();
    log_info("could not set space aside for the next checkpoint (" + failure.call + ": " + error_text(failure.error) +
             ")");
  }
}

void CheckpointStore::pin(std::uint64_t step) {
  const std::string name = checkpoint_name(step), pinned = join_path(folder_, "pinned");
  make_directories(pinned);
  const FileDescriptor target = open_directory(pinned);
  if (linkat(directory_.get(), name.c_str(), target.get(), name.c_str(), 0) != 0 && errno != EEXIST) {
    const std::string content = read_whole_file(InputFile::open_in(folder_, name, "E0506"), file_size_, "E0503");
    write_file_atomically(pinned, name, content);
  }
  (void)sync_file(target.get());
}

std::optional<CheckpointStore::Loaded> CheckpointStore::load_newest() {
  std::vector<std::uint64_t> steps;
  if (is_directory(folder_))
    for (const std::string& name : list_directory(folder_))
      if (const auto step = checkpoint_step(name)) steps.push_back(*step);
  if (steps.empty()) return std::nullopt;
  std::sort(steps.rbegin(), steps.rend());
  Diagnostic none("E0506", folder_ + " has no usable checkpoint");
  for (const std::uint64_t step : steps) {
    const std::string name = checkpoint_name(step);
    try {
      VerifiedCheckpoint checkpoint = open_checkpoint(folder_, name, false);
      load_into_layout(checkpoint);
      return Loaded{checkpoint.step, std::move(checkpoint.manifest)};
    } catch (const Error& error) {
      if (error.code() != "E0503") throw;
      log_error(error.diagnostics().front());
      none.note(error.diagnostics().front().message);
      quarantine(name);
    }
  }
  throw Error(none.help("start anew in an empty folder"));
}

void CheckpointStore::load_into_layout(const VerifiedCheckpoint& checkpoint) {
  const std::string path = checkpoint.file.file().path();
  const auto& found = checkpoint.file.tensors();
  if (found.size() != layout_.size() + 2) throw_damaged(path, "it holds the tensors of another run");
  for (std::size_t i = 0; i < layout_.size(); ++i) {
    const StateTensor& tensor = layout_[i];
    const TensorEntry& entry = found[i];
    if (entry.name != tensor.name || entry.shape != tensor.shape ||
        entry.dtype != (tensor.is_f32 ? FileDType::kF32 : FileDType::kU8))
      throw_damaged(path, "tensor " + entry.name + " is not what this run expects");
    checkpoint.file.read(entry, 0, tensor.data, tensor.bytes);
    if (to_hex(sha256(tensor.data, tensor.bytes)) != recorded_sha256(checkpoint.manifest, path, tensor.name))
      throw_damaged(path, tensor.name + ": checksum differs");
  }
}

void CheckpointStore::quarantine(const std::string& name) {
  const std::string damaged = join_path(folder_, "damaged");
  make_directories(damaged);
  // An older file of the same name gives way: the newest evidence is kept.
  if (::rename(join_path(folder_, name).c_str(), join_path(damaged, name).c_str()) != 0)
    log_info("could not move " + name + " to damaged/: " + error_text(errno));
  std::vector<std::string> names = list_directory(damaged);
  for (std::size_t i = 0; i + kDamagedKept < names.size(); ++i) ::unlink(join_path(damaged, names[i]).c_str());
}

}  // namespace shori
