#include "shori/train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::uint64_t kSmallFileLimit = 64u << 20;

std::string first_word_of_file(const char* path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word.empty() ? "unknown" : word;
}

std::string host_name() {
  char host[256] = "unknown";
  gethostname(host, sizeof host - 1);
  return host;
}

std::string lock_owner_text() {
  const std::string host = host_name();
  char time_text[32];
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &local);
  return concat(getpid(), " ", host, " ", first_word_of_file("/proc/sys/kernel/random/boot_id"), " ", time_text, " ",
                first_word_of_file("/proc/self/comm"), "\n");
}

// What lock_owner_text() wrote, in words.
std::string owner_text(const std::string& line) {
  std::istringstream words(line);
  std::string pid, host, boot_id, since, command;
  words >> pid >> host >> boot_id >> since >> command;
  if (command.empty()) return escape_for_log(trim(line), 200);
  return escape_for_log(concat(command, ", process ", pid, " on ", host, ", since ", since), 200);
}

// Whether a process holds an flock on the file: `process`, or one of another container, which has number 0 here. Device
// numbers are not compared, because some file systems report others there.
bool is_locked(const struct stat& file, const std::string& process) {
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, pid, id;
    words >> number >> kind >> mode >> access >> pid >> id;
    const bool is_file = kind == "FLOCK" && id.ends_with(concat(":", file.st_ino));
    if (is_file && (pid == process || pid == "0" || pid == "-1")) return true;
  }
  return false;
}

[[noreturn]] void throw_busy(int fd, const std::string& folder) {
  char text[512] = {};
  const ssize_t count = pread(fd, text, sizeof text - 1, 0);
  const std::string owner = owner_text(std::string(text, count > 0 ? static_cast<std::size_t>(count) : 0));
  Diagnostic diagnostic("E0501", concat("`", folder, "` is in use by another program"));
  if (!owner.empty()) diagnostic.note(owner);
  throw Error(diagnostic.help("another `output_dir`, or stop that program"));
}

}  // namespace

RunLock RunLock::take(const std::string& folder) {
  make_directories(folder);
  if (is_symlink(folder))
    throw Error(Diagnostic("E0513", "`output_dir` is a link that is not yours or leads to no folder: " + folder)
                    .help("name the folder itself"));
  const FileDescriptor directory = open_directory(folder);
  FileDescriptor fd(openat(directory.get(), "run.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid())
    throw Error(Diagnostic("E0513", concat("cannot write in `", folder, "`: ", error_text(errno)))
                    .help("another `output_dir`, or fix its permissions"));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) throw_busy(fd.get(), folder);
    throw Error(Diagnostic("E0514", concat("the file system of `", folder, "` gives no locks: ", error_text(errno)))
                    .help("use a local disk for `output_dir`"));
  }
  const std::string text = lock_owner_text();
  // Only people read this, so a failure to write it does not matter.
  if (ftruncate(fd.get(), 0) == 0) (void)write_all(fd.get(), text.data(), text.size());
  return RunLock(std::move(fd));
}

LockState lock_state(const std::string& folder) {
  const std::string path = join_path(folder, "run.lock");
  struct stat file{};
  if (::lstat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return {};
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  std::istringstream words(line);
  std::string pid, host;
  words >> pid >> host;
  if (is_locked(file, pid)) return {LockState::kHeld, owner_text(line)};
  const bool is_here = host.empty() || host == escape_for_log(host_name(), 200);
  return is_here ? LockState{} : LockState{LockState::kElsewhere, owner_text(line)};
}

bool is_run_folder(const std::string& path) { return path_exists(join_path(path, "run.json")); }

std::vector<std::string> stage_folders_in(const std::string& path) {
  std::vector<std::string> folders;
  if (!is_directory(path)) return folders;
  for (const std::string& name : list_directory(path))
    if (name.find(".old-") == std::string::npos && is_run_folder(join_path(path, name)))
      folders.push_back(join_path(path, name));
  return folders;
}

std::string run_folder_path(const std::string& output_dir) {
  struct stat link{};
  if (lstat(output_dir.c_str(), &link) != 0 || !S_ISLNK(link.st_mode) || link.st_uid != geteuid()) return output_dir;
  std::error_code failed;
  const std::string target = std::filesystem::canonical(output_dir, failed).string();
  return failed || !is_directory(target) ? output_dir : target;
}

std::string checkpoint_name(std::uint64_t step) {
  std::string digits = concat(step);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return concat("step-", digits, ".safetensors");
}

std::optional<std::uint64_t> checkpoint_step(const std::string& name) {
  constexpr std::string_view kPrefix = "step-", kSuffix = ".safetensors";
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string_view digits =
      std::string_view(name).substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (digits.size() < 6 || digits.size() > 12) return std::nullopt;
  std::uint64_t step = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return step;
}

std::optional<std::uint64_t> RunFolder::newest_checkpoint() const {
  std::optional<std::uint64_t> newest;
  if (!is_directory(checkpoints())) return newest;
  for (const std::string& name : list_directory(checkpoints()))
    if (const auto step = checkpoint_step(name)) newest = std::max(newest.value_or(0), *step);
  return newest;
}

std::optional<JsonValue> RunFolder::read_json(const std::string& name) const {
  if (!path_exists(file(name))) return std::nullopt;
  const std::string text = read_whole_file(InputFile::open_in(path_, name, "E0506"), kSmallFileLimit, "E0506");
  JsonProblem problem;
  auto value = parse_json(text, {.bytes = kSmallFileLimit, .depth = 16}, problem);
  if (!value || !value->is_object()) {
    const TextPosition position = position_of(text, std::min(problem.offset, text.size()));
    throw Error(
        Diagnostic("E0506", concat("`", file(name), "` cannot be read: ", value ? "not an object" : problem.message))
            .at(file(name), position.line, position.column)
            .help(concat("delete done.json if there is one, and `--resume` makes ", name,
                         " again from the newest checkpoint")));
  }
  return value;
}

std::optional<JsonValue> RunFolder::readable_run() const {
  try {
    return read_run();
  } catch (const Error&) {
    return std::nullopt;
  }
}

void RunFolder::write(const std::string& name, const std::string& content) const {
  write_file_atomically(path_, name, content);
}

std::string move_aside(const std::string& folder) {
  for (int number = 1;; ++number) {
    const std::string target = concat(folder, ".old-", number);
    if (path_exists(target)) continue;
    if (::rename(folder.c_str(), target.c_str()) != 0)
      throw Error(Diagnostic("E0513", concat("cannot move `", folder, "` to `", target, "`: ", error_text(errno))));
    return target;
  }
}

}  // namespace shori
