// Opening a file inside a folder and never outside of it. For file_input.cpp and its tests.
#pragma once

namespace shori {

// Read-only descriptor of `name` in or below `directory_fd`, or -1 with errno: EXDEV or ELOOP if the name or a link on
// its path leads out of the folder, or may do so. Uses openat2 (Linux 5.6). Where that is missing or forbidden,
// open_inside_by_steps() is used, which follows no links at all.
int open_inside(int directory_fd, const char* name);
int open_inside_by_steps(int directory_fd, const char* name);

}  // namespace shori
