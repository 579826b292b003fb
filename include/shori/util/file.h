// Files. Every system call that touches a file goes through here: short reads and writes and EINTR are handled, and
// errors name the file and errno.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shori {

// An owned descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  // Closes now; returns errno or 0.
  int close();

 private:
  int fd_ = -1;
};

// Distinguishes a file from another of the same name and size without reading it.
struct FileIdentity {
  std::uint64_t inode = 0;
  std::int64_t mtime_ns = 0;
};

// A regular file opened for reading; its size is fixed at opening. Never memory-mapped: a file that someone truncates
// would then kill the program.
class InputFile {
 public:
  // Throws E0212 if it is not a regular file, `missing_code` if it does not exist, cannot be opened, or is a Git LFS
  // pointer, which stands for a file that was not downloaded.
  static InputFile open(const std::string& path, std::string_view missing_code = "E0203");
  // Opens `name` in `folder` or a folder below it, never outside. A link that leaves `folder` throws E0215, except the
  // links of a Hugging Face cache (models--*/snapshots/<rev>/x -> ../../blobs/<hash>).
  static InputFile open_in(const std::string& folder, const std::string& name, std::string_view missing_code = "E0203");

  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }
  // Reads exactly `count` bytes at `offset`; E0213 if the file has become shorter.
  void read_at(std::uint64_t offset, void* into, std::size_t count) const;
  // E0213 if size or modification time differ from those at opening.
  void check_unchanged() const;
  int descriptor() const { return fd_.get(); }

 private:
  InputFile(FileDescriptor fd, std::string path);

  FileDescriptor fd_;
  std::string path_;
  std::uint64_t size_ = 0;
  FileIdentity identity_;
};

// The content of a small file; throws `limit_code` if it is larger than `limit` bytes.
std::string read_whole_file(const InputFile& file, std::uint64_t limit, std::string_view limit_code);
// SHA-256 of a file, 64 hex digits. Throws Stopped when a stop is requested.
std::string sha256_of_file(const InputFile& file);

bool path_exists(const std::string& path);
bool leads_to_something(const std::string& path);  // follows links: false for one to nothing
bool is_directory(const std::string& path);
bool is_symlink(const std::string& path);
// Names in a folder, sorted by bytes, without "." and "..".
std::vector<std::string> list_directory(const std::string& path);
// Creates `path` and missing parents (0777 & ~umask). Links on the way are followed; `path` itself must not be one
// (E0513).
void make_directories(const std::string& path);
std::string parent_path(const std::string& path);
std::string file_name(const std::string& path);
std::string join_path(const std::string& a, const std::string& b);  // b if it is absolute
std::string absolute_path(const std::string& path);                 // lexical, links are kept
std::string quoted_path(const std::string& path);                   // `path` in backticks, escaped, for messages

// Writes folder/name atomically and durably: temporary file (O_EXCL, O_NOFOLLOW), write, fsync, rename, fsync of the
// folder. E0512, E0513.
void write_file_atomically(const std::string& folder, const std::string& name, std::string_view content);

// The steps of durable writing. They return errno, so that the caller decides what a failure means.
struct IoResult {
  int error = 0;  // errno; 0 = done
  explicit operator bool() const { return error == 0; }
};
IoResult write_all(int fd, const void* data, std::size_t size);  // retries EINTR and short writes; 0 bytes = EIO
IoResult sync_file(int fd);                                      // fsync
IoResult rename_no_replace(int directory_fd, const char* from, const char* to);
FileDescriptor open_directory(const std::string& path);  // O_DIRECTORY; E0513 on failure
std::string error_text(int error);                       // "ENOSPC (no space left on device)"

// Thrown by writers whose callers own the policy: the system call that failed, and its errno.
struct IoFailure {
  std::string call;
  int error;
};

}  // namespace shori
