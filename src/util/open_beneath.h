// Opening a file beneath a folder and never outside of it. For file.cpp and its tests.
#pragma once

namespace shori {

// Read-only descriptor of `name` beneath `directory_fd`, or -1 with errno: EXDEV or ELOOP if the name or a link on its
// way leads out (or may do so). By openat2 (Linux 5.6); where that is missing or forbidden, by steps that follow no
// link at all.
int open_beneath(int directory_fd, const char* name);
// The second way.
int open_beneath_by_steps(int directory_fd, const char* name);

}  // namespace shori
