// What the NVIDIA driver itself says of a GPU, through its management library. It needs no CUDA context and still
// answers when one is lost. Where the library is missing, everything here says so by an empty result.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace shori {

std::string nvml_driver_version();  // "580.65.06"

// Whether the driver still reaches the GPU at this PCI address; nothing where it cannot be asked.
std::optional<bool> nvml_lists_device(const std::string& pci_bus_id);

// The processes that hold memory on it, this one left out: "pid 4121 (Xorg) holds 0.4 GiB" each.
std::vector<std::string> nvml_other_processes(const std::string& pci_bus_id);

}  // namespace shori
