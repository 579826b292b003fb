#include "kernels/cuda/nvml.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>

#include "shori/util/text.h"

namespace shori {

namespace {

// The library comes with the driver, but its header does not. This is the part of its interface that is used here, from
// https://docs.nvidia.com/deploy/nvml-api/.
constexpr int kNvmlSuccess = 0;
struct NvmlMemory {
  std::uint64_t total, free, used;
};
struct NvmlProcess {
  unsigned pid;
  std::uint64_t used_bytes;  // all ones if it is not known
  unsigned gpu_instance, compute_instance;
};

class Nvml {
 public:
  static const Nvml& instance() {
    static const Nvml library;
    return library;
  }
  bool usable() const { return usable_; }
  void* device(const std::string& pci_bus_id) const {
    void* handle = nullptr;
    return usable_ && by_address_(pci_bus_id.c_str(), &handle) == kNvmlSuccess ? handle : nullptr;
  }

  int (*driver_version_)(char*, unsigned) = nullptr;
  int (*memory_)(void*, NvmlMemory*) = nullptr;
  int (*compute_processes_)(void*, unsigned*, NvmlProcess*) = nullptr;
  int (*graphics_processes_)(void*, unsigned*, NvmlProcess*) = nullptr;

 private:
  Nvml() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    int (*initialize)() = nullptr;
    usable_ =
        find(library, "nvmlInit_v2", initialize) && find(library, "nvmlSystemGetDriverVersion", driver_version_) &&
        find(library, "nvmlDeviceGetHandleByPciBusId_v2", by_address_) &&
        find(library, "nvmlDeviceGetMemoryInfo", memory_) &&
        find(library, "nvmlDeviceGetComputeRunningProcesses_v3", compute_processes_) &&
        find(library, "nvmlDeviceGetGraphicsRunningProcesses_v3", graphics_processes_) && initialize() == kNvmlSuccess;
  }
  template <class Function>
  static bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }

  bool usable_ = false;
  int (*by_address_)(const char*, void**) = nullptr;
};

std::string process_name(unsigned pid) {
  std::ifstream file(concat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace

std::string nvml_driver_version() {
  std::array<char, 96> text{};
  const Nvml& nvml = Nvml::instance();
  if (!nvml.usable() || nvml.driver_version_(text.data(), text.size()) != kNvmlSuccess) return {};
  return text.data();
}

std::optional<bool> nvml_lists_device(const std::string& pci_bus_id) {
  const Nvml& nvml = Nvml::instance();
  if (!nvml.usable()) return std::nullopt;
  void* device = nvml.device(pci_bus_id);
  NvmlMemory memory{};
  return device != nullptr && nvml.memory_(device, &memory) == kNvmlSuccess;
}

std::vector<std::string> nvml_other_processes(const std::string& pci_bus_id) {
  std::vector<std::string> texts;
  const Nvml& nvml = Nvml::instance();
  void* device = nvml.device(pci_bus_id);
  if (device == nullptr) return texts;
  for (const auto list : {nvml.compute_processes_, nvml.graphics_processes_}) {
    std::array<NvmlProcess, 64> processes{};
    unsigned count = processes.size();
    if (list(device, &count, processes.data()) != kNvmlSuccess) continue;
    for (unsigned i = 0; i < count; ++i) {
      const NvmlProcess& process = processes[i];
      if (process.pid == static_cast<unsigned>(getpid())) continue;
      const std::string name = process_name(process.pid);
      std::string text = concat("pid ", process.pid, name.empty() ? "" : " (" + name + ")");
      if (process.used_bytes != ~std::uint64_t{0}) {
        std::array<char, 32> size{};
        std::snprintf(size.data(), size.size(), " holds %.1f GiB", static_cast<double>(process.used_bytes) / (1 << 30));
        text += size.data();
      }
      texts.push_back(text);
    }
  }
  return texts;
}

}  // namespace shori
