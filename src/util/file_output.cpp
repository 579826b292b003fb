// Writing files and folders, and paths as text.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

[[noreturn]] void throw_not_writable(const std::string& path, const std::string& reason) {
  throw Error(Diagnostic("E0513", quoted_path(path) + " cannot be used for writing: " + reason)
                  .help("choose another folder, or change its permissions"));
}

[[noreturn]] void throw_is_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t size = readlink(path.c_str(), target, sizeof target);
  Diagnostic diagnostic("E0513", quoted_path(path) + " is a link; links are not followed for writing");
  if (size > 0) diagnostic.note("its target is " + quoted_path(std::string(target, static_cast<std::size_t>(size))));
  throw Error(diagnostic.help("name the folder itself"));
}

// Opens the next folder of a path and creates it if it is missing. Links on the way are the user's own (a home or data
// disk elsewhere) and are followed. The last folder, in which the program writes, must not be a link.
FileDescriptor enter_or_make(int parent, const std::string& part, const std::string& path, bool is_last) {
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (is_last ? O_NOFOLLOW : 0);
  int fd = openat(parent, part.c_str(), flags);
  if (fd < 0 && errno == ENOENT) {
    if (mkdirat(parent, part.c_str(), 0777) == 0) {
      // What is written into a folder is durable only if the folder's own name is.
      if (const IoResult synced = sync_file(parent); !synced) throw_not_writable(path, error_text(synced.error));
    } else if (errno != EEXIST) {
      throw_not_writable(path, error_text(errno));
    }
    fd = openat(parent, part.c_str(), flags | O_NOFOLLOW);
  }
  const int error = errno;
  if (fd < 0 && is_symlink(path)) throw_is_link(path);
  if (fd < 0) throw_not_writable(path, error_text(error));
  return FileDescriptor(fd);
}

// A new file beside `name`, for writing.
FileDescriptor make_temporary(int directory, const std::string& folder, const std::string& name,
                              std::string& temporary) {
  static std::atomic<unsigned> counter{0};
  while (true) {
    temporary = concat(".", name, ".", getpid(), "-", counter++, ".tmp");
    const int fd = openat(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0) return FileDescriptor(fd);
    if (errno != EEXIST && errno != EINTR)
      throw Error(Diagnostic("E0513", "cannot write in " + quoted_path(folder) + ": " + error_text(errno)));
  }
}

IoResult result_of(int returned) { return IoResult{returned == 0 ? 0 : errno}; }

IoResult write_sync_close(FileDescriptor& fd, std::string_view content) {
  if (const IoResult written = write_all(fd.get(), content.data(), content.size()); !written) return written;
  if (const IoResult synced = sync_file(fd.get()); !synced) return synced;
  return IoResult{fd.close()};
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() { close(); }

int FileDescriptor::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

int FileDescriptor::close() {
  if (fd_ < 0) return 0;
  // On Linux the descriptor is gone after close, whatever it returns.
  return ::close(release()) == 0 || errno == EINTR ? 0 : errno;
}

void make_directories(const std::string& path) {
  const std::string whole = absolute_path(path);
  FileDescriptor current(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (std::size_t begin = 1; begin < whole.size();) {
    const std::size_t end = std::min(whole.find('/', begin), whole.size());
    current = enter_or_make(current.get(), whole.substr(begin, end - begin), whole.substr(0, end), end == whole.size());
    begin = end + 1;
  }
}

std::string parent_path(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  const std::size_t slash = end == std::string::npos ? std::string::npos : path.rfind('/', end);
  if (slash == std::string::npos) return path.starts_with('/') ? "/" : ".";
  const std::size_t last = path.find_last_not_of('/', slash);
  return last == std::string::npos ? "/" : path.substr(0, last + 1);
}

std::string file_name(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return {};
  const std::size_t slash = path.rfind('/', end);
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(begin, end + 1 - begin);
}

std::string join_path(const std::string& a, const std::string& b) {
  if (b.starts_with('/') || a.empty()) return b;
  return a.ends_with('/') ? a + b : a + "/" + b;
}

std::string absolute_path(const std::string& path) {
  std::string whole = path;
  if (!path.starts_with('/')) {
    char folder[PATH_MAX];
    if (getcwd(folder, sizeof folder) == nullptr) throw_not_writable(path, error_text(errno));
    whole = join_path(folder, path);
  }
  std::vector<std::string> parts;
  for (std::size_t begin = 1; begin < whole.size();) {
    const std::size_t end = std::min(whole.find('/', begin), whole.size());
    const std::string part = whole.substr(begin, end - begin);
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (part != ".." && part != "." && !part.empty()) parts.push_back(part);
    begin = end + 1;
  }
  std::string out;
  for (const std::string& part : parts) out += "/" + part;
  return out.empty() ? "/" : out;
}

std::string quoted_path(const std::string& path) { return concat("`", escape_for_log(path, 400), "`"); }

void write_file_atomically(const std::string& folder, const std::string& name, std::string_view content) {
  const FileDescriptor directory = open_directory(folder);
  std::string temporary;
  FileDescriptor fd = make_temporary(directory.get(), folder, name, temporary);
  IoResult result = write_sync_close(fd, content);
  if (result) result = result_of(renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()));
  if (result) result = sync_file(directory.get());
  if (result) return;
  unlinkat(directory.get(), temporary.c_str(), 0);
  throw Error(
      Diagnostic("E0512", "writing " + quoted_path(join_path(folder, name)) + " failed: " + error_text(result.error))
          .note("no half-written file has that name")
          .help("check the disk"));
}

IoResult write_all(int fd, const void* data, std::size_t size) {
  auto bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return IoResult{errno};
    if (written == 0) return IoResult{EIO};
    bytes += written;
    size -= static_cast<std::size_t>(written);
  }
  return IoResult{};
}

IoResult sync_file(int fd) {
  int returned;
  do {
    returned = fsync(fd);
  } while (returned != 0 && errno == EINTR);
  return result_of(returned);
}

IoResult rename_no_replace(int directory_fd, const char* from, const char* to) {
  if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0) return IoResult{};
  // Some file systems do not know the flag. The lock of the folder then protects the name.
  if (errno != EINVAL && errno != ENOSYS) return IoResult{errno};
  if (faccessat(directory_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return IoResult{EEXIST};
  return result_of(renameat(directory_fd, from, directory_fd, to));
}

FileDescriptor open_directory(const std::string& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) throw_not_writable(path, error_text(errno));
  return fd;
}

std::string error_text(int error) {
  const char* name = strerrorname_np(error);
  const char* description = strerrordesc_np(error);
  if (name == nullptr || description == nullptr) return concat("error ", error);
  std::string text(description);
  if (!text.empty()) text[0] = lower_ascii(text[0]);
  return concat(name, " (", text, ")");
}

}  // namespace shori
