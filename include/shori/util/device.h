// Where numbers live, and what the host asks of the device: memory, copies, streams, events.
//
// A program has one device backend, chosen when it is linked: `cuda` (an NVIDIA GPU), `emulated` (tests: plain memory,
// kernels run on the CPU) or `none` (a CPU build). Device::kCuda means that backend's device; the CPU is always there.
// Failures of the device are thrown as Error: E0401-E0405 before training, E0701-E0705 in it. Everything here but
// device_backend() needs a device that open_device() has opened; one thread drives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shori {

enum class Device : std::uint8_t { kCpu, kCuda };

struct DeviceInfo {
  std::string name;  // "NVIDIA GeForce RTX 3090"
  int sm_major = 0, sm_minor = 0;
  int sm_count = 0;  // multiprocessors
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;  // when it was opened
  std::string driver;          // "580.65.06"
};

std::string_view device_backend();  // "cuda", "emulated", "none"

// Opens the device once; later calls return the same. E0402 no kernel for this card, E0403 driver too old, E0404 no
// usable device (always with the backend `none`), E0407 libraries of another release.
const DeviceInfo& open_device();

// A queue of device work in order. Work of different streams overlaps unless events order it.
class DeviceStream {
 public:
  DeviceStream();  // a new stream
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;
  void* handle() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

// A point in a stream: wait for it, or take the time between two.
class DeviceEvent {
 public:
  DeviceEvent();
  ~DeviceEvent();
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;
  void record(void* stream);
  void synchronize() const;                                // the host waits
  double seconds_since(const DeviceEvent& earlier) const;  // both have happened

 private:
  void* handle_ = nullptr;
};

// Device memory, 256-byte aligned, contents undefined. bytes may be 0 (null).
void* device_allocate(std::size_t bytes);
void device_free(void* memory) noexcept;
// The most device memory that this process may take from now on, beside the driver's own; libtorch's allocator obeys
// it, too. An allocation beyond it fails as on a device of that size.
void limit_device_memory(std::size_t bytes);
// Host memory that copies to and from the device overlap with (page-locked).
void* pinned_allocate(std::size_t bytes);
void pinned_free(void* memory) noexcept;

// Queued on `stream` (null: the default stream). From or to host memory that is not pinned, the call may wait for the
// copy; pinned memory must stay as it is until the stream has passed.
void copy_to_device(void* to, const void* from, std::size_t bytes, void* stream);
void copy_to_host(void* to, const void* from, std::size_t bytes, void* stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, void* stream);
// `rows` rows of `bytes` each, device to device; pitches in bytes from row to row.
void copy_rows_on_device(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t rows, void* stream);
void fill_zero_on_device(void* memory, std::size_t bytes, void* stream);
void synchronize_stream(void* stream);

// Bytes of device memory in use now by everything on it, this process's context included, and the most that our own
// allocations held at once.
std::size_t device_bytes_in_use();
std::size_t device_peak_bytes();

}  // namespace shori
