// One interface to the device: memory, copies, streams, events.
//
// A program has one device backend, chosen when it is linked: `cuda` (an NVIDIA GPU), `emulated` (tests: plain memory,
// kernels run on the CPU) or `none` (a CPU build). Device::kCuda is the device of that backend; the CPU is always
// available. Failures of the device are thrown as Error: E0401-E0405 before training, E0701-E0704 during training.
// Everything but device_backend() needs a device that open_device() has opened. Only one thread may use it.
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
  std::size_t free_bytes = 0;  // when the device was opened
  std::string driver;          // "580.65.06"
  bool has_clock = true;       // false: the times of events say nothing (the emulator, unless a test sets its clock)
};

std::string_view device_backend();  // "cuda", "emulated", "none"

// Opens the device once; later calls return the same. E0402 no kernel for this card, E0403 driver too old, E0404 no
// usable device (always with the backend `none`), E0407 libraries of another release.
const DeviceInfo& open_device();

// A queue of device work that is done in order. Work of different streams may overlap.
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

// A point in a stream, to wait for or to measure time from.
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

// Device memory, 256-byte aligned, contents undefined. Null for 0 bytes.
void* device_allocate(std::size_t bytes);
void device_free(void* memory) noexcept;
// Limits the device memory that this process may allocate from now on, not counting the driver's own; the limit also
// holds for libtorch's allocator. An allocation beyond it fails as on a device of that size.
void limit_device_memory(std::size_t bytes);
// Page-locked host memory: copies from and to it can overlap with other device work.
void* pinned_allocate(std::size_t bytes);
void pinned_free(void* memory) noexcept;

// Queued on `stream` (null: the default stream). With host memory that is not pinned the call may wait for the copy.
// Pinned memory must not change until the stream has completed the copy.
void copy_to_device(void* to, const void* from, std::size_t bytes, void* stream);
void copy_to_host(void* to, const void* from, std::size_t bytes, void* stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, void* stream);
// `rows` rows of `bytes` each, device to device; pitches in bytes from row to row.
void copy_rows_on_device(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t rows, void* stream);
void fill_zero_on_device(void* memory, std::size_t bytes, void* stream);
void synchronize_stream(void* stream);

// Device memory in use now, by all programs and this process's context.
std::size_t device_bytes_in_use();
// The maximum that this program's own allocations had at one time.
std::size_t device_peak_bytes();

}  // namespace shori
