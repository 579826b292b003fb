// The backend of a CPU build: there is no device, and only device_backend() and open_device() are ever called.
#include "shori/util/device.h"
#include "shori/util/error.h"

namespace shori {

namespace {
[[noreturn]] void no_device() { internal_error(__FILE__, __LINE__, "a CPU build has no device"); }
}  // namespace

std::string_view device_backend() { return "none"; }

const DeviceInfo& open_device() {
  throw Error(Diagnostic("E0404", "this program was built without CUDA")
                  .help("`device: cpu` runs tiny models; real ones need a build with CUDA"));
}

DeviceStream::DeviceStream() { no_device(); }
DeviceStream::~DeviceStream() = default;
DeviceEvent::DeviceEvent() { no_device(); }
DeviceEvent::~DeviceEvent() = default;
void DeviceEvent::record(void*) { no_device(); }
void DeviceEvent::synchronize() const { no_device(); }
double DeviceEvent::seconds_since(const DeviceEvent&) const { no_device(); }
void* device_allocate(std::size_t) { no_device(); }
void device_free(void*) noexcept {}
void limit_device_memory(std::size_t) { no_device(); }
void* pinned_allocate(std::size_t) { no_device(); }
void pinned_free(void*) noexcept {}
void copy_to_device(void*, const void*, std::size_t, void*) { no_device(); }
void copy_to_host(void*, const void*, std::size_t, void*) { no_device(); }
void copy_on_device(void*, const void*, std::size_t, void*) { no_device(); }
void copy_rows_on_device(void*, std::size_t, const void*, std::size_t, std::size_t, std::size_t, void*) { no_device(); }
void fill_zero_on_device(void*, std::size_t, void*) { no_device(); }
void synchronize_stream(void*) { no_device(); }
std::size_t device_bytes_in_use() { no_device(); }
std::size_t device_peak_bytes() { no_device(); }

}  // namespace shori
