// The large CUDA libraries, loaded when a device is opened. Linked, they would cost every start of a program more time
// than all the rest of it, also where no GPU is used (README.md, "How the code is laid out").
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// Loads libtorch_cuda of the libtorch that this process runs with, and with it cuBLASLt and FlashAttention's kernels.
// E0407: libtorch is another release than the one built with, a library is missing, or one is mapped twice.
void load_cuda_libraries();

// The address of a function of the libraries loaded so; E0407 if none has it.
void* late_function(const char* name);

// "2.11.0" out of at::show_config(), empty if it does not say.
std::string libtorch_version(std::string_view config);

// Libraries that `maps`, the text of /proc/self/maps, shows under more than one path: "libcublasLt.so.13: A, B" each.
// Two copies have two states, so that handles and streams of one mean nothing to the other.
std::vector<std::string> libraries_mapped_twice(std::string_view maps);

}  // namespace shori
