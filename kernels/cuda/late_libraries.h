// Loads the large CUDA libraries when a device is opened. If they were linked, the program would not start on a machine
// without them, and loading them would take longer than everything else it does at its start.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// Loads libtorch_cuda of the libtorch that this process runs with, and with it cuBLASLt and the kernels of FlashAttention.
// E0407: libtorch is not the release that the program was built with, a library is missing, or one is mapped twice.
void load_cuda_libraries();

// The address of a function of the loaded libraries; E0407 if none of them has it.
void* late_function(const char* name);

// The settings of libtorch's allocator with `expandable_segments:True`, unless they name it: segments that can grow leave no
// gaps between the sizes that attention asks for, which the memory plan does not count.
std::string with_expandable_segments(std::string_view settings);

// The version in the text of at::show_config(), "2.11.0"; empty if there is none.
std::string libtorch_version(std::string_view config);

// The libraries that `maps`, the text of /proc/self/maps, shows under more than one path, each as "libcublasLt.so: A, B".
// Two copies of a library do not share their state, so handles and streams of one mean nothing to the other.
std::vector<std::string> libraries_mapped_twice(std::string_view maps);

}  // namespace shori
