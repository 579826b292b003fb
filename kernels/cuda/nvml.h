// What the NVIDIA driver reports about a GPU through its management library. This needs no CUDA context and works when one
// is lost. If the library is missing, every function returns an empty result.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace shori {

std::string nvml_driver_version();  // "580.65.06"

// Whether the driver still reaches the GPU at this PCI address; empty if it cannot be asked.
std::optional<bool> nvml_lists_device(const std::string& pci_bus_id);

// The other processes that hold memory on the GPU, each as "pid 4121 (Xorg) holds 0.4 GiB".
std::vector<std::string> nvml_other_processes(const std::string& pci_bus_id);

}  // namespace shori
