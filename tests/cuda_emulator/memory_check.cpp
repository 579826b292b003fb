#include "tests/cuda_emulator/memory_check.h"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "shori/util/text.h"
#include "tests/cuda_emulator/cuda_emulator.h"

namespace shori::emulator {
namespace {

// Who touched a byte, and when. `interval` counts barriers and block starts over the whole run; 0 means never. Small, because
// every byte has three.
struct Access {
  std::uint32_t interval;
  std::uint16_t warp_interval, thread;
};
struct ByteState {
  Access write, read[2];
  bool defined, forbidden;
};
// calloc() takes zeroed pages, which cost nothing until a byte of them is touched: most of a workspace never is.
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
struct Region {
  std::size_t bytes;
  bool shared, initialised;  // initialised: every byte is defined
  std::unique_ptr<ByteState[], Free> state;
};

// What the 64 bytes at `64 * number` belong to: a region as a whole, or none. Most accesses are to local variables.
struct Line {
  std::uintptr_t number = 0, begin = 0;  // begin: that of the region
  Region* region = nullptr;
};
constexpr std::uintptr_t kLineBytes = 64, kLines = 4096;

struct Checker {
  bool enabled = false;
  std::map<std::uintptr_t, Region> regions;  // by first address
  std::array<Line, kLines> lines{};          // what was found since the regions changed, by a hash of the number
  std::uint32_t interval = 1, launch_start = 1, block_start = 1;
  std::array<std::uint16_t, 32> warp_interval{};
  std::array<int, 32> warp_passed{};  // lanes that have passed the current __syncwarp
};

[[gnu::always_inline]] inline Checker& checker() {
  static Checker instance;
  return instance;
}

Region* search(Checker& c, std::uintptr_t address, Line& line, std::size_t& offset) {
  const std::uintptr_t first = address / kLineBytes * kLineBytes;
  const auto next = c.regions.upper_bound(address);
  const bool is_last = next == c.regions.end() || first + kLineBytes <= next->first;
  if (next == c.regions.begin()) {
    if (is_last) line = {address / kLineBytes, 0, nullptr};
    return nullptr;
  }
  auto& [begin, region] = *std::prev(next);
  offset = address - begin;
  if (begin <= first && first + kLineBytes <= begin + region.bytes) line = {address / kLineBytes, begin, &region};
  if (begin + region.bytes <= first && is_last) line = {address / kLineBytes, 0, nullptr};
  return offset < region.bytes ? &region : nullptr;
}

[[gnu::always_inline]] inline Region* find(Checker& c, std::uintptr_t address, std::size_t& offset) {
  const std::uintptr_t number = address / kLineBytes;
  Line& line = c.lines[number * 0x9E3779B97F4A7C15u >> 52];
  if (line.number != number) return search(c, address, line, offset);
  offset = address - line.begin;
  return line.region;
}

bool unordered(const Checker& c, const Access& earlier, int thread, bool shared) {
  if (earlier.interval < c.launch_start) return false;
  if (earlier.interval < c.block_start)
    return !shared;  // another block of this launch; shared memory is not the same then
  if (earlier.thread == thread || earlier.interval < c.interval) return false;
  return earlier.thread / kWarpLanes != thread / kWarpLanes ||
         earlier.warp_interval == c.warp_interval[thread / kWarpLanes];
}

std::string location(const Region& region, std::size_t offset, const void* caller) {
  Dl_info info{};
  char text[160] = "";
  if (caller != nullptr && dladdr(caller, &info) != 0) {
    std::snprintf(text, sizeof text, " (addr2line -Cfie PROGRAM %#zx)",
                  reinterpret_cast<std::size_t>(caller) - reinterpret_cast<std::size_t>(info.dli_fbase) - 1);
  }
  return concat(region.shared ? "shared memory" : "buffer", " byte ", offset, text);
}

void access(const void* address, std::size_t bytes, bool write, const void* caller) {
  Checker& c = checker();
  const int thread = current_thread();
  if (!c.enabled || thread < 0) return;
  std::size_t offset = 0;
  Region* region = find(c, reinterpret_cast<std::uintptr_t>(address), offset);
  if (region == nullptr) return;  // a local variable or a constant table
  const char* what = write ? "write to " : "read of ";
  if (offset + bytes > region->bytes)
    fail(concat("memcheck: ", what, "bytes after ", location(*region, region->bytes, caller)));
  const Access now{c.interval, c.warp_interval[thread / kWarpLanes], static_cast<std::uint16_t>(thread)};
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    ByteState& byte = region->state[i];
    if (byte.forbidden) fail(concat("memcheck: ", what, "a guard or red zone, ", location(*region, i, caller)));
    if (!write && !byte.defined && !region->initialised)
      fail("initcheck: read of unwritten " + location(*region, i, caller));
    if (byte.write.interval != 0 && unordered(c, byte.write, thread, region->shared)) {
      fail(concat("racecheck: ", location(*region, i, caller), write ? " written" : " read", ", and written by thread ",
                  byte.write.thread, " with no barrier between"));
    }
    if (write) {
      for (const Access& read : byte.read) {
        if (read.interval != 0 && unordered(c, read, thread, region->shared)) {
          fail(concat("racecheck: ", location(*region, i, caller), " written, and read by thread ", read.thread,
                      " with no barrier between"));
        }
      }
      byte.write = now;
      byte.defined = true;
    } else if (byte.read[0].interval == 0 || byte.read[0].thread == thread) {
      byte.read[0] = now;
    } else {
      byte.read[1] = now;
    }
  }
}

void add_region(const void* begin, std::size_t bytes, bool shared, bool defined) {
  Checker& c = checker();
  if (!c.enabled) return;
  c.lines.fill({});
  std::unique_ptr<ByteState[], Free> state(static_cast<ByteState*>(std::calloc(bytes, sizeof(ByteState))));
  if (!state) throw std::bad_alloc();
  c.regions[reinterpret_cast<std::uintptr_t>(begin)] = {bytes, shared, defined, std::move(state)};
}

}  // namespace

void check_arena(const void* begin, std::size_t bytes) { add_region(begin, bytes, true, false); }

void check_fresh(const void* begin, std::size_t bytes) {
  if (!checker().enabled) return;
  std::size_t offset = 0;
  if (Region* region = find(checker(), reinterpret_cast<std::uintptr_t>(begin), offset)) {
    for (std::size_t i = 0; i < bytes; ++i) region->state[offset + i] = ByteState{};
  }
}

void check_launch() { checker().launch_start = ++checker().interval; }
void check_block_start() {
  checker().block_start = ++checker().interval;
  checker().warp_interval.fill(0);
  checker().warp_passed.fill(0);
}
void check_barrier() { ++checker().interval; }
void check_warp_barrier(int thread) {
  // Each lane calls this as it passes. All 32 have arrived by then, and the first one opens the new interval.
  const int warp = thread / kWarpLanes;
  if (checker().warp_passed[warp]++ % kWarpLanes == 0) ++checker().warp_interval[warp];
}

void watch_buffer(const void* begin, std::size_t bytes, bool initialised) {
  add_region(begin, bytes, false, initialised);
}
void define_bytes(const void* begin, std::size_t bytes) {
  if (!checker().enabled) return;
  std::size_t offset = 0;
  if (Region* region = find(checker(), reinterpret_cast<std::uintptr_t>(begin), offset)) {
    for (std::size_t i = 0; i < bytes; ++i) region->state[offset + i].defined = true;
  }
}
void forbid_bytes(const void* begin, std::size_t bytes, bool forbidden) {
  if (!checker().enabled) return;
  std::size_t offset = 0;
  if (Region* region = find(checker(), reinterpret_cast<std::uintptr_t>(begin), offset)) {
    for (std::size_t i = 0; i < bytes; ++i) region->state[offset + i].forbidden = forbidden;
  }
}
void forget_buffer(const void* begin) {
  checker().lines.fill({});
  checker().regions.erase(reinterpret_cast<std::uintptr_t>(begin));
}
bool memory_is_checked() { return checker().enabled; }
void note_access(const void* address, std::size_t bytes, bool write) { access(address, bytes, write, nullptr); }

}  // namespace shori::emulator

// ---- What code compiled with -fsanitize=thread calls (GCC and Clang) ----

extern "C" {
void __tsan_init() { shori::emulator::checker().enabled = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
#define SHORI_TSAN_HOOK(name, bytes, write) \
  void name(void* address) { shori::emulator::access(address, bytes, write, __builtin_return_address(0)); }
SHORI_TSAN_HOOK(__tsan_read1, 1, false)
SHORI_TSAN_HOOK(__tsan_read2, 2, false)
SHORI_TSAN_HOOK(__tsan_read4, 4, false)
SHORI_TSAN_HOOK(__tsan_read8, 8, false)
SHORI_TSAN_HOOK(__tsan_read16, 16, false)
SHORI_TSAN_HOOK(__tsan_write1, 1, true)
SHORI_TSAN_HOOK(__tsan_write2, 2, true)
SHORI_TSAN_HOOK(__tsan_write4, 4, true)
SHORI_TSAN_HOOK(__tsan_write8, 8, true)
SHORI_TSAN_HOOK(__tsan_write16, 16, true)
SHORI_TSAN_HOOK(__tsan_unaligned_read2, 2, false)
SHORI_TSAN_HOOK(__tsan_unaligned_read4, 4, false)
SHORI_TSAN_HOOK(__tsan_unaligned_read8, 8, false)
SHORI_TSAN_HOOK(__tsan_unaligned_read16, 16, false)
SHORI_TSAN_HOOK(__tsan_unaligned_write2, 2, true)
SHORI_TSAN_HOOK(__tsan_unaligned_write4, 4, true)
SHORI_TSAN_HOOK(__tsan_unaligned_write8, 8, true)
SHORI_TSAN_HOOK(__tsan_unaligned_write16, 16, true)
void __tsan_read_range(void* address, unsigned long bytes) {
  shori::emulator::access(address, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, unsigned long bytes) {
  shori::emulator::access(address, bytes, true, __builtin_return_address(0));
}
}
