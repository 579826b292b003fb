// Files that only this user can read: what people say to a model is nobody else's business.
#pragma once

#include <sys/stat.h>

namespace shori {

// While it lives, files and folders that the program creates have no rights for other users.
class PrivateFiles {
 public:
  PrivateFiles() : old_(umask(0077)) {}
  ~PrivateFiles() { umask(old_); }
  PrivateFiles(const PrivateFiles&) = delete;
  PrivateFiles& operator=(const PrivateFiles&) = delete;

 private:
  mode_t old_;
};

}  // namespace shori
