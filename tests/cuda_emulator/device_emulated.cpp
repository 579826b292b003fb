// The device backend of the tests: plain memory with guard bytes, kernels by the CUDA emulator. All work is done when a call
// returns.
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>

#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "tests/cuda_emulator/cuda_emulator.h"
#include "tests/support/device_schedules.h"

namespace shori {

namespace {

constexpr std::size_t kGuardBytes = 256;  // before and after each allocation; keeps the alignment
constexpr int kGuardValue = 0xa5;

struct Allocations {
  std::map<std::byte*, std::size_t> sizes;  // by the address that the caller has
  std::size_t in_use = 0, peak = 0;
  std::size_t limit = std::size_t{24} << 30;
};

Allocations& allocations() {
  static Allocations instance;
  return instance;
}

bool is_guard(const std::byte* bytes) {
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (bytes[i] != std::byte{kGuardValue}) return false;
  }
  return true;
}

}  // namespace

std::string_view device_backend() { return "emulated"; }

const DeviceInfo& open_device() {
  static const DeviceInfo info{.name = "CUDA emulator",
                               .sm_major = 8,
                               .sm_minor = 6,
                               .sm_count = 82,
                               .total_bytes = std::size_t{24} << 30,
                               .free_bytes = std::size_t{24} << 30,
                               .driver = "emulated"};
  return info;
}

DeviceStream::DeviceStream() = default;
DeviceStream::~DeviceStream() = default;
DeviceEvent::DeviceEvent() : handle_(new double(0)) {}
DeviceEvent::~DeviceEvent() { delete static_cast<double*>(handle_); }
void DeviceEvent::record(void*) { *static_cast<double*>(handle_) = now_seconds(); }
void DeviceEvent::synchronize() const {}
double DeviceEvent::seconds_since(const DeviceEvent& earlier) const {
  return *static_cast<const double*>(handle_) - *static_cast<const double*>(earlier.handle_);
}

void* device_allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  if (allocations().in_use + bytes > allocations().limit) {
    throw Error(Diagnostic("E0401", concat("the emulated device has no ", bytes, " bytes left")));
  }
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + 2 * kGuardBytes) != 0) throw std::bad_alloc();
  auto* first = static_cast<std::byte*>(memory) + kGuardBytes;
  std::memset(first - kGuardBytes, kGuardValue, kGuardBytes);
  std::memset(first, 0xff, bytes);  // NaN in every float type
  std::memset(first + bytes, kGuardValue, kGuardBytes);
  emulator::watch_buffer(first, bytes, false);
  Allocations& all = allocations();
  all.sizes[first] = bytes;
  all.in_use += bytes;
  all.peak = std::max(all.peak, all.in_use);
  return first;
}

void device_free(void* memory) noexcept {
  if (memory == nullptr) return;
  auto* first = static_cast<std::byte*>(memory);
  Allocations& all = allocations();
  const std::size_t bytes = all.sizes.at(first);
  if (!is_guard(first - kGuardBytes) || !is_guard(first + bytes)) {
    std::fprintf(stderr, "emulated device: a kernel wrote outside an allocation of %zu bytes\n", bytes);
    std::abort();
  }
  emulator::forget_buffer(first);
  all.in_use -= bytes;
  all.sizes.erase(first);
  std::free(first - kGuardBytes);
}

void limit_device_memory(std::size_t bytes) { allocations().limit = bytes; }

void* pinned_allocate(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{64}); }
void pinned_free(void* memory) noexcept { ::operator delete(memory, std::align_val_t{64}); }

void copy_to_device(void* to, const void* from, std::size_t bytes, void*) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  emulator::define_bytes(to, bytes);
}
void copy_to_host(void* to, const void* from, std::size_t bytes, void*) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void copy_on_device(void* to, const void* from, std::size_t bytes, void*) { copy_to_device(to, from, bytes, nullptr); }
void copy_rows_on_device(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t rows, void*) {
  for (std::size_t row = 0; row < rows; ++row) {
    copy_to_device(static_cast<std::byte*>(to) + row * to_pitch, static_cast<const std::byte*>(from) + row * from_pitch,
                   bytes, nullptr);
  }
}
void fill_zero_on_device(void* memory, std::size_t bytes, void*) {
  if (bytes > 0) std::memset(memory, 0, bytes);
  emulator::define_bytes(memory, bytes);
}
void synchronize_stream(void*) {}

std::size_t device_bytes_in_use() { return allocations().in_use; }
std::size_t device_peak_bytes() { return allocations().peak; }

// ---- device_schedules.h ----

namespace testing {

namespace {
using Order = emulator::Schedule::Order;
constexpr emulator::Schedule kSchedules[] = {{Order::kForward, 1, true, 0xff},
                                             {Order::kReverse, 1, false, 0x00},
                                             {Order::kShuffled, 7, true, 0x7b},
                                             {Order::kShuffled, 8, false, 0xff}};
}  // namespace

// Races and unwritten bytes do not depend on the order of threads. The first two schedules differ in all else.
int device_schedule_count() { return emulator::memory_is_checked() ? 2 : static_cast<int>(std::size(kSchedules)); }
void set_device_schedule(int index) { emulator::set_schedule(kSchedules[index]); }

}  // namespace testing
}  // namespace shori
