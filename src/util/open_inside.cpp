#include "src/util/open_inside.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "shori/util/file.h"

namespace shori {
namespace {

// O_NONBLOCK: opening a FIFO must not wait for a writer.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

int fail_with(int error) {
  errno = error;
  return -1;
}

}  // namespace

int open_inside_by_steps(int directory_fd, const char* name) {
  std::string_view rest(name);
  if (rest.empty()) return fail_with(ENOENT);
  if (rest.front() == '/') return fail_with(EXDEV);
  FileDescriptor held;
  int current = directory_fd;
  while (true) {
    const std::size_t slash = rest.find('/');
    const std::string part(rest.substr(0, slash));
    if (part == "..") return fail_with(EXDEV);
    const bool last = slash == std::string_view::npos;
    const int flags = last ? kReadFlags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const int fd = openat(current, part.empty() ? "." : part.c_str(), flags);
    if (last || fd < 0) return fd;
    held = FileDescriptor(fd);
    current = fd;
    rest.remove_prefix(slash + 1);
  }
}

int open_inside(int directory_fd, const char* name) {
  open_how how{};
  how.flags = kReadFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  while (true) {
    const long fd = syscall(SYS_openat2, directory_fd, name, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    // EAGAIN: a rename happened during the look-up.
    if (errno == EINTR || errno == EAGAIN) continue;
    // EPERM comes from container filters that do not know the call. A file without permission gives EACCES.
    return errno == ENOSYS || errno == EPERM ? open_inside_by_steps(directory_fd, name) : -1;
  }
}

}  // namespace shori
