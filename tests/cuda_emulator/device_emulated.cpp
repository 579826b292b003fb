// The device backend of the tests: plain memory with guard bytes, kernels by the CUDA emulator. The address sanitizer and the
// emulator's memory checker find each access to a guard; without them a guard that has changed is found when its memory is freed.
// A kernel is done when its launch returns. A copy between the device and pinned memory lands as late as CUDA allows, so that a missing wait is seen: when the
// host waits for the stream or for an event after the copy, or when the stream comes to work that follows it.
//
// With SHORI_EMULATED_TAKEN=n in the environment, another program takes n bytes of the device after this one has asked how much
// is free.
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <string>

#include "kernels/common/red_zone_checker.h"
#include "shori/ops/op_context.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "tests/cuda_emulator/cuda_emulator.h"
#include "tests/support/device_schedules.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

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

std::size_t taken_by_another() {
  static const char* const text = std::getenv("SHORI_EMULATED_TAKEN");
  static const std::size_t bytes = text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
  return bytes;
}

bool is_guard(const std::byte* bytes) {
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (bytes[i] != std::byte{kGuardValue}) return false;
  }
  return true;
}

void forbid(const void* begin, std::size_t bytes, bool forbidden) {
#ifdef __SANITIZE_ADDRESS__
  if (forbidden) {
    __asan_poison_memory_region(begin, bytes);
  } else {
    __asan_unpoison_memory_region(begin, bytes);
  }
#endif
  emulator::forbid_bytes(begin, bytes, forbidden);
}

void add_guard(std::byte* begin) {
  std::memset(begin, kGuardValue, kGuardBytes);
  emulator::watch_buffer(begin, kGuardBytes, true);
  forbid(begin, kGuardBytes, true);
}
// Whether it is as it was.
bool remove_guard(const std::byte* begin) {
  forbid(begin, kGuardBytes, false);
  emulator::forget_buffer(begin);
  return is_guard(begin);
}

void copy_now(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  emulator::define_bytes(to, bytes);  // without effect on host memory
}

// The copies of one stream that have not landed.
class StreamQueue {
 public:
  void add(void* to, const void* from, std::size_t bytes) { waiting_.push_back({to, from, bytes}); }
  std::uint64_t end() const { return done_ + waiting_.size(); }
  void land(std::uint64_t end) {
    for (; done_ < end && !waiting_.empty(); ++done_, waiting_.pop_front()) {
      const Copy& copy = waiting_.front();
      copy_now(copy.to, copy.from, copy.bytes);
    }
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::deque<Copy> waiting_;
  std::uint64_t done_ = 0;
};

// By handle; the default stream has none.
std::map<void*, StreamQueue>& queues() {
  static auto& instance = *new std::map<void*, StreamQueue>;  // never destroyed: static streams end after main()
  return instance;
}
void land_copies(void* stream) { queues()[stream].land(queues()[stream].end()); }

std::map<const std::byte*, std::size_t>& pinned_blocks() {
  static auto& instance = *new std::map<const std::byte*, std::size_t>;  // as queues()
  return instance;
}
bool is_pinned(const void* memory) {
  const auto* byte = static_cast<const std::byte*>(memory);
  auto after = pinned_blocks().upper_bound(byte);
  if (after == pinned_blocks().begin()) return false;
  --after;
  return byte < after->first + after->second;
}

// With other host memory the call waits for the copy.
void copy_with_host(void* to, const void* from, std::size_t bytes, void* stream, const void* host) {
  queues()[stream].add(to, from, bytes);
  if (!is_pinned(host)) land_copies(stream);
}

const bool hooked = (emulator::before_launch = land_copies, true);
// Ops have at most five slices at a time.
const bool red_zones_on =
    (RedZones::on_host = true, RedZones::room_on_device = 16 * RedZones::kBytes, forbid_accesses = forbid, true);

// The end of a stream when the event was recorded.
struct EventState {
  double seconds = 0;
  void* stream = nullptr;
  std::uint64_t end = 0;
};

}  // namespace

std::string_view device_backend() { return "emulated"; }

const DeviceInfo& open_device() {
  static const DeviceInfo info{.name = "CUDA emulator",
                               .sm_major = 8,
                               .sm_minor = 6,
                               .sm_count = 82,
                               .total_bytes = std::size_t{24} << 30,
                               .free_bytes = std::size_t{24} << 30,
                               .driver = "emulated",
                               .has_clock = emulator::has_clock()};
  return info;
}

DeviceStream::DeviceStream() : handle_(new char) {}
DeviceStream::~DeviceStream() {
  land_copies(handle_);
  queues().erase(handle_);
  delete static_cast<char*>(handle_);
}
DeviceEvent::DeviceEvent() : handle_(new EventState) {}
DeviceEvent::~DeviceEvent() { delete static_cast<EventState*>(handle_); }
void DeviceEvent::record(void* stream) {
  const double seconds = emulator::has_clock() ? emulator::clock_seconds() : now_seconds();
  *static_cast<EventState*>(handle_) = {seconds, stream, queues()[stream].end()};
}
void DeviceEvent::synchronize() const {
  const auto& event = *static_cast<const EventState*>(handle_);
  queues()[event.stream].land(event.end);
}
double DeviceEvent::seconds_since(const DeviceEvent& earlier) const {
  return static_cast<const EventState*>(handle_)->seconds - static_cast<const EventState*>(earlier.handle_)->seconds;
}

void* device_allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  if (allocations().in_use + bytes + taken_by_another() > allocations().limit) {
    throw Error(Diagnostic("E0401", concat("the emulated device has no ", bytes, " bytes left")));
  }
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + 2 * kGuardBytes) != 0) throw std::bad_alloc();
  auto* first = static_cast<std::byte*>(memory) + kGuardBytes;
  std::memset(first, 0xff, bytes);  // NaN in every float type
  add_guard(first - kGuardBytes);
  add_guard(first + bytes);
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
  const bool before = remove_guard(first - kGuardBytes), after = remove_guard(first + bytes);
  if (!before || !after) {
    std::fprintf(stderr, "emulated device: a kernel wrote outside an allocation of %zu bytes\n", bytes);
    std::abort();
  }
  emulator::forget_buffer(first);
  all.in_use -= bytes;
  all.sizes.erase(first);
  std::free(first - kGuardBytes);
}

void limit_device_memory(std::size_t bytes) { allocations().limit = bytes; }

void* pinned_allocate(std::size_t bytes) {
  void* memory = ::operator new(bytes, std::align_val_t{64});
  pinned_blocks()[static_cast<const std::byte*>(memory)] = bytes;
  return memory;
}
void pinned_free(void* memory) noexcept {
  pinned_blocks().erase(static_cast<const std::byte*>(memory));
  ::operator delete(memory, std::align_val_t{64});
}

void copy_to_device(void* to, const void* from, std::size_t bytes, void* stream) {
  copy_with_host(to, from, bytes, stream, from);
}
void copy_to_host(void* to, const void* from, std::size_t bytes, void* stream) {
  copy_with_host(to, from, bytes, stream, to);
}
void copy_on_device(void* to, const void* from, std::size_t bytes, void* stream) {
  land_copies(stream);
  copy_now(to, from, bytes);
}
void copy_rows_on_device(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t rows, void* stream) {
  for (std::size_t row = 0; row < rows; ++row) {
    copy_on_device(static_cast<std::byte*>(to) + row * to_pitch, static_cast<const std::byte*>(from) + row * from_pitch,
                   bytes, stream);
  }
}
void fill_zero_on_device(void* memory, std::size_t bytes, void* stream) {
  land_copies(stream);
  if (bytes > 0) std::memset(memory, 0, bytes);
  emulator::define_bytes(memory, bytes);
}
void synchronize_stream(void* stream) { land_copies(stream); }

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

#ifdef __SANITIZE_ADDRESS__
constexpr bool kAddressesAreChecked = true;
#else
constexpr bool kAddressesAreChecked = false;
#endif

// Builds that look for races, unwritten bytes and wrong addresses take less of what these do not depend on; ops_emulated_test
// takes all of it. Races do not depend on the order of threads: the first two schedules differ in everything else. Addresses
// do not depend on any schedule, nor either of them on how a sum is rounded.
int device_schedule_count() {
  if (kAddressesAreChecked) return 1;
  return emulator::memory_is_checked() ? 2 : static_cast<int>(std::size(kSchedules));
}
void set_device_schedule(int index) { emulator::set_schedule(kSchedules[index]); }
int device_sum_rounding_count() { return kAddressesAreChecked || emulator::memory_is_checked() ? 1 : 2; }
void set_device_sum_rounding(int index) { emulator::truncate_sums(index == 1); }

}  // namespace testing
}  // namespace shori
