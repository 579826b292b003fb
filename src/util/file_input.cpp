// Reading files.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/util/open_inside.h"

namespace shori {
namespace {

constexpr std::size_t kHashChunk = 1u << 20;

std::int64_t modification_time(const struct stat& status) {
  return status.st_mtim.tv_sec * std::int64_t{1000000000} + status.st_mtim.tv_nsec;
}

std::string kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

[[noreturn]] void throw_not_opened(const std::string& path, int error, std::string_view missing_code) {
  if (error == ENXIO) throw Error(Diagnostic("E0212", quoted_path(path) + " is a socket, not a regular file"));
  const bool missing = error == ENOENT || error == ENOTDIR;
  throw Error(Diagnostic(missing_code, missing ? quoted_path(path) + " does not exist"
                                               : quoted_path(path) + " cannot be opened: " + error_text(error)));
}

// The target of a link; empty if `name` is not a link.
std::string link_target(int directory_fd, const char* name) {
  char target[PATH_MAX];
  const ssize_t size = readlinkat(directory_fd, name, target, sizeof target);
  return size > 0 ? std::string(target, static_cast<std::size_t>(size)) : std::string();
}

[[noreturn]] void throw_leaves(const std::string& folder, const std::string& name, const std::string& target) {
  Diagnostic diagnostic(
      "E0215", quoted_path(name) + (target.empty() ? " leads out of its folder" : " is a link that leaves its folder"));
  diagnostic.at(join_path(folder, name));
  if (!target.empty())
    diagnostic.note("its target is " + quoted_path(target) + "; only links of a Hugging Face cache are followed");
  throw Error(diagnostic.help("copy the file into the folder"));
}

// The folder `models--*` if `folder` is `.../models--*/snapshots/<revision>`, else empty.
std::string cache_root(const std::string& folder) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(folder.c_str(), nullptr), &std::free);
  if (!real) return {};
  const std::string snapshots = parent_path(real.get());
  const std::string root = parent_path(snapshots);
  return file_name(snapshots) == "snapshots" && file_name(root).starts_with("models--") ? root : std::string();
}

// The way from `name` in a snapshot folder to that of the cache: "../../", and one more for each folder in the name.
std::string way_to_cache(std::string_view name) {
  std::string way = "../../";
  for (const char c : name)
    if (c == '/') way += "../";
  return way;
}

// <way>blobs/<40 to 64 lower-case hex digits>: the only form of link in a snapshot folder.
bool is_blob_link(std::string_view target, std::string_view way) {
  constexpr std::string_view kBlobs = "blobs/";
  if (!target.starts_with(way) || !target.substr(way.size()).starts_with(kBlobs)) return false;
  target.remove_prefix(way.size() + kBlobs.size());
  return target.size() >= 40 && target.size() <= 64 &&
         target.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

int open_folder_or_throw(const std::string& folder, std::string_view missing_code) {
  const int fd = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_not_opened(folder, errno, missing_code);
  return fd;
}

// A clone without git-lfs leaves texts of about 130 bytes, `version https://git-lfs.github.com/spec/v1`, where the large
// files belong. Format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
void refuse_lfs_pointer(const InputFile& file, std::string_view missing_code) {
  constexpr std::uint64_t kMaxPointer = 1024;
  constexpr std::string_view kStarts[] = {"version https://git-lfs.github.com/spec/",
                                          "version https://hawser.github.com/spec/"};
  if (file.size() >= kMaxPointer || file.size() < kStarts[0].size()) return;
  std::string text(file.size(), '\0');
  file.read_at(0, text.data(), text.size());
  if (std::none_of(std::begin(kStarts), std::end(kStarts),
                   [&](std::string_view start) { return text.starts_with(start); }))
    return;
  Diagnostic problem(missing_code,
                     quoted_path(file.path()) + " is a Git LFS pointer, the file itself was not downloaded");
  problem.at(file.path());
  const std::size_t size = text.find("\nsize ");
  if (size != std::string::npos) {
    const std::string_view digits =
        std::string_view(text).substr(size + 6, text.find_first_of("\r\n", size + 6) - size - 6);
    if (digits.find_first_not_of("0123456789") == std::string_view::npos)
      problem.note(concat("it stands for a file of ", digits, " bytes"));
  }
  const std::string folder = shell_word(parent_path(file.path()));
  problem.help(concat("get it: `git -C ", folder, " lfs pull`, with git-lfs installed"));
  throw Error(problem.help("or download the folder with `hf download`, which needs no Git"));
}

// Files of models, whose address on the Hub leads to a page about the file, not to the file.
bool is_model_file(std::string_view path) {
  constexpr std::string_view kEnds[] = {".safetensors", ".gguf", "tokenizer.model", ".safetensors.index.json",
                                        "config.json"};
  return std::any_of(std::begin(kEnds), std::end(kEnds), [path](std::string_view end) { return path.ends_with(end); });
}

void refuse_web_page(const InputFile& file, std::string_view missing_code) {
  constexpr std::uint64_t kHead = 512;
  if (!is_model_file(file.path())) return;
  std::string head(std::min(kHead, file.size()), '\0');
  file.read_at(0, head.data(), head.size());
  if (head.starts_with(kByteOrderMark)) head.erase(0, kByteOrderMark.size());
  const std::string start = lower_ascii(trim(head));
  if (!start.starts_with("<!doctype html") && !start.starts_with("<html")) return;
  Diagnostic problem(missing_code, quoted_path(file.path()) + " is a web page (HTML), not the file itself");
  problem.at(file.path()).note("the address of the page was downloaded, or a page that asks to log in");
  problem.help(replace_help(file.path()));
  if (!snapshot_id(parent_path(file.path())).empty()) throw Error(problem);
  throw Error(problem.help("a browser gets it from the same address with `resolve` in place of `blob`"));
}

}  // namespace

InputFile InputFile::open(const std::string& path, std::string_view missing_code) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) throw_not_opened(path, errno, missing_code);
  InputFile file(std::move(fd), path);
  refuse_lfs_pointer(file, missing_code);
  refuse_web_page(file, missing_code);
  return file;
}

InputFile InputFile::open_in(const std::string& folder, const std::string& name, std::string_view missing_code) {
  const FileDescriptor directory(open_folder_or_throw(folder, missing_code));
  const std::string target = link_target(directory.get(), name.c_str());
  FileDescriptor fd;
  int error = 0;
  const std::string root = is_blob_link(target, way_to_cache(name)) ? cache_root(folder) : std::string();
  if (!root.empty()) {
    const FileDescriptor cache(open_folder_or_throw(root, missing_code));
    fd = FileDescriptor(open_inside(cache.get(), target.substr(way_to_cache(name).size()).c_str()));
    error = errno;
  } else {
    fd = FileDescriptor(open_inside(directory.get(), name.c_str()));
    error = errno;
  }
  if (!fd.valid() && (error == EXDEV || error == ELOOP)) throw_leaves(folder, name, target);
  if (!fd.valid()) throw_not_opened(join_path(folder, name), error, missing_code);
  InputFile file(std::move(fd), join_path(folder, name));
  refuse_lfs_pointer(file, missing_code);
  refuse_web_page(file, missing_code);
  return file;
}

InputFile::InputFile(FileDescriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {
  struct stat status{};
  if (fstat(fd_.get(), &status) != 0)
    throw Error(Diagnostic("E0213", quoted_path(path_) + " cannot be examined: " + error_text(errno)));
  if (!S_ISREG(status.st_mode))
    throw Error(Diagnostic("E0212", quoted_path(path_) + " is " + kind_of(status.st_mode) + ", not a regular file"));
  size_ = static_cast<std::uint64_t>(status.st_size);
  identity_ = {static_cast<std::uint64_t>(status.st_ino), modification_time(status)};
}

void InputFile::read_at(std::uint64_t offset, void* into, std::size_t count) const {
  auto bytes = static_cast<char*>(into);
  while (count > 0) {
    const ssize_t got = pread(fd_.get(), bytes, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      throw Error(
          Diagnostic("E0213", concat(quoted_path(path_), " cannot be read at byte ", offset, ": ", error_text(errno)))
              .help("check the disk"));
    if (got == 0)
      throw Error(Diagnostic("E0213", quoted_path(path_) + " changed while it was read")
                      .note(concat("size ", size_, " -> at most ", offset))
                      .help("start again when no other program writes to it"));
    bytes += got;
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::size_t>(got);
  }
}

void InputFile::check_unchanged() const {
  struct stat status{};
  const bool known = fstat(fd_.get(), &status) == 0;
  if (known && static_cast<std::uint64_t>(status.st_size) == size_ && modification_time(status) == identity_.mtime_ns)
    return;
  Diagnostic diagnostic("E0213", quoted_path(path_) + " changed while it was read");
  if (static_cast<std::uint64_t>(status.st_size) != size_)
    diagnostic.note(concat("size ", size_, " -> ", status.st_size));
  else
    diagnostic.note("its modification time changed");
  throw Error(diagnostic.help("start again when no other program writes to it"));
}

std::string read_whole_file(const InputFile& file, std::uint64_t limit, std::string_view limit_code) {
  if (file.size() > limit)
    throw Error(
        Diagnostic(limit_code, concat(quoted_path(file.path()), " has ", file.size(), " bytes, the limit is ", limit))
            .at(file.path()));
  std::string text(file.size(), '\0');
  file.read_at(0, text.data(), text.size());
  file.check_unchanged();
  return text;
}

std::string sha256_of_file(const InputFile& file) {
  std::vector<char> chunk(std::min<std::uint64_t>(kHashChunk, file.size()));
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < file.size(); offset += chunk.size()) {
    throw_if_stop_requested();
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), file.size() - offset));
    file.read_at(offset, chunk.data(), count);
    hash.update(chunk.data(), count);
  }
  file.check_unchanged();
  return to_hex(hash.finish());
}

bool path_exists(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0;
}

bool leads_to_something(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0;
}

bool is_directory(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_symlink(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

std::vector<std::string> list_directory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), &closedir);
  if (!directory) throw Error(Diagnostic("E0513", quoted_path(path) + " cannot be listed: " + error_text(errno)));
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) throw Error(Diagnostic("E0513", quoted_path(path) + " cannot be listed: " + error_text(errno)));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace shori
