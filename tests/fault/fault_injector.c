// LD_PRELOAD library for the fault tests: counts the calls that a program makes on one folder and lets one of them fail.
//
//   FAULT_ROOT    the folder; calls on other paths are passed on and not counted
//   FAULT_LOG     file outside of it: "NUMBER CALL PATH" for every call (FAULT_TRACE), "fired NUMBER CALL PATH" for the fault
//   FAULT_TRACE   1: log every call
//   FAULT_AT      number of the call to fail, from 1; 0: none
//   FAULT_KIND    kill | hang | short | signal:NUMBER | error:ERRNO
//   FAULT_FOREVER 1: every later call of a kind that can meet this error fails, too
//   FAULT_FULL    while this file exists, calls that need room fail with ENOSPC
//
// After a fault the monotonic clock runs ahead and sleeps are short, so that waiting for a better disk takes no time.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kNeedsRoom = 1, kWrites = 2 };

static atomic_int calls;
static atomic_int fired;
static atomic_long seconds_ahead;

static int raw_fd_path(int fd, char* out) {
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const long size = syscall(SYS_readlinkat, AT_FDCWD, name, out, PATH_MAX - 1);
  out[size > 0 ? size : 0] = '\0';
  return size > 0;
}

static void full_path(int folder, const char* path, char* out) {
  char base[PATH_MAX] = "";
  if (path[0] != '/') {
    if (folder == AT_FDCWD) {
      if (syscall(SYS_getcwd, base, sizeof base) < 0) base[0] = '\0';
    } else {
      raw_fd_path(folder, base);
    }
  }
  snprintf(out, PATH_MAX * 2, "%s%s%s", base, path[0] == '/' ? "" : "/", path);
}

static int is_below_root(const char* path) {
  const char* root = getenv("FAULT_ROOT");
  if (root == NULL) return 0;
  const size_t size = strlen(root);
  return strncmp(path, root, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static void log_call(const char* prefix, int number, const char* call, const char* path) {
  char line[PATH_MAX * 2 + 64];
  const int size = snprintf(line, sizeof line, "%s%d %s %s\n", prefix, number, call, path);
  const long fd = syscall(SYS_openat, AT_FDCWD, getenv("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  syscall(SYS_write, fd, line, size);
  syscall(SYS_close, fd);
}

static int number_of(const char* name) {
  const char* text = getenv(name);
  return text == NULL ? 0 : atoi(text);
}

static int disk_is_full(void) {
  const char* flag = getenv("FAULT_FULL");
  return flag != NULL && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
}

enum { kPass = 0, kShort = -1 };  // otherwise: the errno to fail with

// What happens to this call on `path`.
static int meet(const char* call, const char* path, int traits) {
  if (!is_below_root(path)) return kPass;
  const int number = atomic_fetch_add(&calls, 1) + 1;
  if (number_of("FAULT_TRACE")) log_call("", number, call, path);
  if ((traits & kNeedsRoom) && disk_is_full()) {
    if (atomic_exchange(&fired, 1) == 0) log_call("fired ", number, call, path);
    return ENOSPC;
  }
  const int at = number_of("FAULT_AT");
  if (at == 0 || number < at || (number > at && !number_of("FAULT_FOREVER"))) return kPass;
  if (number > at && !(traits & kWrites)) return kPass;
  if (atomic_exchange(&fired, 1) == 0) log_call("fired ", number, call, path);
  const char* kind = getenv("FAULT_KIND");
  if (strcmp(kind, "kill") == 0) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  while (strcmp(kind, "hang") == 0) pause();
  if (strcmp(kind, "short") == 0) return kShort;
  if (strncmp(kind, "signal:", 7) == 0) raise(atoi(kind + 7));
  return strncmp(kind, "error:", 6) == 0 ? atoi(kind + 6) : kPass;
}

static int meet_at(const char* call, int folder, const char* path, int traits) {
  char whole[PATH_MAX * 2];
  full_path(folder, path, whole);
  return meet(call, whole, traits);
}

static int meet_fd(const char* call, int fd, int traits) {
  char whole[PATH_MAX];
  return raw_fd_path(fd, whole) ? meet(call, whole, traits) : kPass;
}

static long failed(int error) {
  errno = error;
  return -1;
}

static int open_traits(int flags) { return flags & O_CREAT ? kNeedsRoom | kWrites : 0; }

static int open_it(const char* call, int folder, const char* path, int flags, mode_t mode) {
  const int met = meet_at(call, folder, path, open_traits(flags));
  return met > 0 ? (int)failed(met) : (int)syscall(SYS_openat, folder, path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define DEFINE_OPEN(name)                              \
  int name(const char* path, int flags, ...) {         \
    va_list arguments;                                 \
    va_start(arguments, flags);                        \
    const mode_t mode = mode_of(flags, arguments);     \
    va_end(arguments);                                 \
    return open_it("open", AT_FDCWD, path, flags, mode); \
  }
#define DEFINE_OPENAT(name)                                \
  int name(int folder, const char* path, int flags, ...) { \
    va_list arguments;                                     \
    va_start(arguments, flags);                            \
    const mode_t mode = mode_of(flags, arguments);         \
    va_end(arguments);                                     \
    return open_it("openat", folder, path, flags, mode);   \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

// What _FORTIFY_SOURCE makes of calls without a mode.
int __open_2(const char* path, int flags) { return open_it("open", AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return open_it("open", AT_FDCWD, path, flags, 0); }
int __openat_2(int folder, const char* path, int flags) { return open_it("openat", folder, path, flags, 0); }
int __openat64_2(int folder, const char* path, int flags) { return open_it("openat", folder, path, flags, 0); }

// syscall() itself cannot be used from here on: this is it.
long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
#ifdef SYS_openat2
  if (number == SYS_openat2) {
    const int met = meet_at("openat2", (int)a[0], (const char*)a[1], 0);
    if (met > 0) return failed(met);
  }
#endif
  register long r10 __asm__("r10") = a[3];
  register long r8 __asm__("r8") = a[4];
  register long r9 __asm__("r9") = a[5];
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result < 0 && result > -4096 ? failed((int)-result) : result;
}

ssize_t write(int fd, const void* data, size_t size) {
  const int met = meet_fd("write", fd, kNeedsRoom | kWrites);
  if (met > 0) return failed(met);
  return syscall(SYS_write, fd, data, met == kShort && size > 1 ? size / 2 : size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  const int met = meet_fd("pwrite", fd, kNeedsRoom | kWrites);
  if (met > 0) return failed(met);
  return syscall(SYS_pwrite64, fd, data, met == kShort && size > 1 ? size / 2 : size, at);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) { return pwrite(fd, data, size, at); }

#define MEET_FD(call, fd, traits)                            \
  do {                                                       \
    const int met = meet_fd(call, fd, traits);               \
    if (met > 0) return (int)failed(met);                    \
  } while (0)
#define MEET_AT(call, folder, path, traits)                  \
  do {                                                       \
    const int met = meet_at(call, folder, path, traits);     \
    if (met > 0) return (int)failed(met);                    \
  } while (0)

int fsync(int fd) {
  MEET_FD("fsync", fd, kWrites);
  return (int)syscall(SYS_fsync, fd);
}
int fdatasync(int fd) {
  MEET_FD("fdatasync", fd, kWrites);
  return (int)syscall(SYS_fdatasync, fd);
}
int ftruncate(int fd, off_t size) {
  MEET_FD("ftruncate", fd, kWrites);
  return (int)syscall(SYS_ftruncate, fd, size);
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
int fallocate(int fd, int mode, off_t offset, off_t size) {
  MEET_FD("fallocate", fd, kNeedsRoom | kWrites);
  return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off_t offset, off_t size) { return fallocate(fd, mode, offset, size); }
int flock(int fd, int operation) {
  MEET_FD("flock", fd, 0);
  return (int)syscall(SYS_flock, fd, operation);
}
// The descriptor is gone after close, whatever it returns.
int close(int fd) {
  const int met = meet_fd("close", fd, 0);
  const int result = (int)syscall(SYS_close, fd);
  return met > 0 ? (int)failed(met) : result;
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  MEET_AT("renameat2", to_folder, to, kWrites);
  return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  MEET_AT("renameat", to_folder, to, kWrites);
  return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}
int rename(const char* from, const char* to) {
  MEET_AT("rename", AT_FDCWD, to, kWrites);
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  MEET_AT("linkat", to_folder, to, kNeedsRoom | kWrites);
  return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}
int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlinkat(int folder, const char* path, int flags) {
  MEET_AT("unlinkat", folder, path, kWrites);
  return (int)syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char* path) {
  MEET_AT("unlink", AT_FDCWD, path, kWrites);
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int rmdir(const char* path) {
  MEET_AT("rmdir", AT_FDCWD, path, kWrites);
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}
int mkdirat(int folder, const char* path, mode_t mode) {
  MEET_AT("mkdir", folder, path, kNeedsRoom | kWrites);
  return (int)syscall(SYS_mkdirat, folder, path, mode);
}
int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int clock_gettime(clockid_t clock, struct timespec* now) {
  const int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (clock == CLOCK_MONOTONIC && atomic_load(&fired)) now->tv_sec += atomic_fetch_add(&seconds_ahead, 4) + 4;
  return result;
}

static const struct timespec kBlink = {0, 1000000};

int nanosleep(const struct timespec* wanted, struct timespec* left) {
  return (int)syscall(SYS_nanosleep, atomic_load(&fired) ? &kBlink : wanted, left);
}
int clock_nanosleep(clockid_t clock, int flags, const struct timespec* wanted, struct timespec* left) {
  if (atomic_load(&fired) && !(flags & TIMER_ABSTIME)) wanted = &kBlink;
  return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) == 0 ? 0 : errno;
}
