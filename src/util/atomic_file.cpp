#include "shori/util/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "shori/util/error.h"

namespace shori {
namespace {

// Whether the open file still has its name: the writer before may have renamed it between open() and flock().
bool has_name(int file, int directory, const std::string& name) {
  struct stat opened{}, named{};
  return fstat(file, &opened) == 0 && fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

}  // namespace

AtomicFile::AtomicFile(std::string folder, std::string name, std::uint64_t bytes)
    : folder_(std::move(folder)),
      name_(std::move(name)),
      temporary_("." + name_ + ".tmp"),
      directory_(open_directory(folder_)) {
  file_ =
      FileDescriptor(openat(directory_.get(), temporary_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file_.valid())
    throw Error(Diagnostic("E0513", "cannot write in " + quoted_path(folder_) + ": " + error_text(errno)));
  if (flock(file_.get(), LOCK_EX | LOCK_NB) != 0 || !has_name(file_.get(), directory_.get(), temporary_))
    throw Error(Diagnostic("E0513", quoted_path(join_path(folder_, name_)) + " is being written by another program"));
  int error = ftruncate(file_.get(), 0) == 0 ? 0 : errno;
  if (error == 0 && fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes)) != 0) error = errno;
  const bool unsupported = error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
  if (error == 0 || unsupported) return;
  unlinkat(directory_.get(), temporary_.c_str(), 0);
  fail(error);
}

AtomicFile::~AtomicFile() {
  if (!committed_) unlinkat(directory_.get(), temporary_.c_str(), 0);
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  if (const IoResult result = write_all(file_.get(), data, bytes); !result) fail(result.error);
  writeback_.wrote(file_.get(), bytes);
}

void AtomicFile::sync() {
  // Fewer bytes may have been written than were reserved.
  const off_t size = lseek(file_.get(), 0, SEEK_CUR);
  if (size < 0 || ftruncate(file_.get(), size) != 0) fail(errno);
  if (const IoResult result = sync_file(file_.get()); !result) fail(result.error);
}

void AtomicFile::commit() {
  sync();
  if (renameat(directory_.get(), temporary_.c_str(), directory_.get(), name_.c_str()) != 0) fail(errno);
  committed_ = true;
  if (const IoResult result = sync_file(directory_.get()); !result) fail(result.error);
}

void AtomicFile::fail(int error) const {
  throw Error(Diagnostic("E0512", "writing " + quoted_path(join_path(folder_, name_)) + " failed: " + error_text(error))
                  .note("no half-written file has that name")
                  .help("check the disk"));
}

}  // namespace shori
