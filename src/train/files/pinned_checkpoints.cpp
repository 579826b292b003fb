// CheckpointStore: the checkpoints that outlive the rolling ones, in pinned/ and requested/.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "shori/train/checkpoint.h"
#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

bool is_same_file(int first, int second, const std::string& name) {
  struct stat a{}, b{};
  return fstatat(first, name.c_str(), &a, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstatat(second, name.c_str(), &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// An older file of that name is from before the run fell back to an earlier step, perhaps because the file was damaged.
bool link_checkpoint(int from, int to, const std::string& name) {
  const auto link = [&] { return linkat(from, name.c_str(), to, name.c_str(), 0) == 0; };
  if (link()) return true;
  if (errno != EEXIST) return false;
  if (is_same_file(from, to, name)) return true;
  return unlinkat(to, name.c_str(), 0) == 0 && link();
}

std::optional<std::uint64_t> step_member(const JsonValue& guards, const char* key) {
  const JsonValue* value = guards.find(key);
  return value ? value->as_unsigned() : std::nullopt;
}

// The manifest says whether its step was the best when it was written. A checkpoint that a stop saved during the
// evaluation of its step does not know; it is in pinned/ because the resume found out.
bool was_best(const std::string& folder, const std::string& name, std::uint64_t step, const PinReasons& reasons) {
  try {
    const SealedFile checkpoint = open_checkpoint(folder, name, false);
    const JsonValue* guards = checkpoint.manifest.find("guards");
    if (!guards) return false;
    return step_member(*guards, "best_step") == step ||
           (reasons.is_evaluated(step) && step_member(*guards, "evaluated_step") != step);
  } catch (const Error&) {
    return false;
  }
}

bool is_outdated(const std::string& folder, const std::string& name, std::uint64_t step, const PinReasons& reasons) {
  if (step > reasons.step || step == reasons.best_step) return false;
  const auto passed = std::ranges::upper_bound(reasons.epoch_ends, reasons.step);
  const auto end = std::ranges::find(reasons.epoch_ends, step);
  if (end == reasons.epoch_ends.end()) return was_best(folder, name, step, reasons);
  return static_cast<std::size_t>(passed - end) > std::max<std::size_t>(reasons.save_total_limit, 2);
}

}  // namespace

bool CheckpointStore::pin(std::uint64_t step, PinFolder into) {
  const std::string name = checkpoint_name(step),
                    folder = into == PinFolder::kPinned ? run_.pinned() : run_.requested();
  make_directories(folder);
  const FileDescriptor target = open_directory(folder);
  if (!link_checkpoint(directory_.get(), target.get(), name)) {
    const std::string content = read_whole_file(InputFile::open_in(folder_, name, "E0506"), file_size(), "E0503");
    write_file_atomically(folder, name, content);
  }
  return !sync_file(target.get()).error;
}

void CheckpointStore::drop_outdated_pins(const PinReasons& reasons) {
  const std::string folder = run_.pinned();
  if (!is_directory(folder)) return;
  try {
    const FileDescriptor directory = open_directory(folder);
    for (const std::string& name : list_directory(folder)) {
      const auto step = checkpoint_step(name);
      if (step && is_outdated(folder, name, *step, reasons)) unlinkat(directory.get(), name.c_str(), 0);
    }
  } catch (const Error& error) {
    // A file too many is no reason to stop a run.
    log_info(concat("could not read ", folder, ": ", error.diagnostics().front().message));
  }
}

}  // namespace shori
