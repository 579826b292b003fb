#include "tests/cuda_emulator/cuda_emulator.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/io/half.h"
#include "shori/util/text.h"
#include "tests/cuda_emulator/fiber.h"
#include "tests/cuda_emulator/memory_check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace shori::emulator {

struct Copy {
  void* shared;
  const void* global;
  bool valid;
};
struct PendingCopies {
  std::vector<Copy> open;                // not yet committed
  std::deque<std::vector<Copy>> groups;  // committed, oldest first
};

namespace {

constexpr int kMaxThreads = 1024;
constexpr std::size_t kRedzoneBytes = 128;

enum class State { kRunnable, kAtBarrier, kAtWarp, kLeft };

struct Thread {
  Fiber fiber;
  uint3 index{};
  State state = State::kRunnable;
  const char* what = "";
  Location where;
  PendingCopies copies;
};

// A collective is complete when all lanes have arrived. There are two sets of slots, because a fast lane may already write
// for the next collective while a slow one still reads this one. No lane can be two collectives ahead.
struct Warp {
  int arrived = 0;
  int parity = 0;
  std::byte slots[2][kWarpLanes * WarpValues<int>::kSlotBytes];
};

// A static array of the current block.
struct SharedArray {
  const void* site;  // identifies its declaration
  std::byte* begin;
  std::size_t bytes;
};

bool truncated_by_environment() {
  const char* const text = std::getenv("SHORI_EMULATED_SUMS");
  return text != nullptr && std::string_view(text) == "truncated";
}

// Milliseconds by the beginning of a name.
std::vector<std::pair<std::string, double>> clock_of_environment() {
  const char* const text = std::getenv("SHORI_EMULATED_CLOCK");
  std::istringstream entries(text == nullptr ? "" : text);
  std::vector<std::pair<std::string, double>> clock;
  for (std::string entry; std::getline(entries, entry, ',');) {
    const std::size_t sign = entry.find('=');
    if (sign == std::string::npos) throw EmulatorError(concat("SHORI_EMULATED_CLOCK: no `=` in ", entry));
    clock.emplace_back(entry.substr(0, sign), std::stod(entry.substr(sign + 1)));
  }
  return clock;
}
const std::vector<std::pair<std::string, double>>& clock_table() {
  static const auto& table = *new auto(clock_of_environment());
  return table;
}

struct Device {
  Schedule schedule;
  double clock_seconds = 0;
  bool truncates_sums = truncated_by_environment();
  std::uint64_t random = 1;
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  int thread_count = 0;
  int warp_count = 0;
  Thread* current = nullptr;
  int current_index = 0;
  std::string failure;
  std::unique_ptr<std::byte[]> arena_memory;
  std::byte* arena = nullptr;
  std::size_t arena_bytes = 2 * kMaxSharedBytes + 64 * kRedzoneBytes;
  std::size_t arena_used = 0;
  std::size_t dynamic_bytes = 0;
  std::vector<SharedArray> shared_arrays;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
};

// Every step of every thread calls device(): a static variable within it would check each time whether it has been made.
Device the_device;
Device& device() { return the_device; }

std::uint64_t next_random() {
  std::uint64_t& x = device().random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x;
}

std::string name(const Location& where) {
  const std::string file = where.file;
  return concat(file.substr(file.find_last_of('/') + 1), ":", where.line);
}

std::string describe(const Thread& thread) {
  switch (thread.state) {
    case State::kLeft:
      return "left the kernel";
    case State::kAtBarrier:
      return "at __syncthreads, " + name(thread.where);
    case State::kAtWarp:
      return std::string("at ") + thread.what + ", " + name(thread.where);
    case State::kRunnable:
      return "running";
  }
  return "";
}

constexpr std::size_t kMaxDescription = 600;

// "threads 0-15 at mma, k.cu:12; threads 16-31 left the kernel"
std::string describe_threads() {
  const Device& d = device();
  std::string text;
  for (int first = 0; first < d.thread_count;) {
    const std::string state = describe(*d.threads[first]);
    int last = first;
    while (last + 1 < d.thread_count && describe(*d.threads[last + 1]) == state) ++last;
    text += concat(text.empty() ? "" : "; ", "threads ", first, "-", last, " ", state);
    if (text.size() > kMaxDescription) return text + "; ...";
    first = last + 1;
  }
  return text;
}

std::string describe_block() { return concat("block (", blockIdx.x, ",", blockIdx.y, ",", blockIdx.z, ")"); }

void thread_entry(void*) {
  Device& d = device();
  d.entry(d.argument);
  d.current->state = State::kLeft;
}

std::byte* take_arena(std::size_t bytes) {
  Device& d = device();
  std::byte* begin = d.arena + d.arena_used;
  d.arena_used += (bytes + kRedzoneBytes - 1) / kRedzoneBytes * kRedzoneBytes + kRedzoneBytes;
  if (d.arena_used > d.arena_bytes) fail("shared memory: too many arrays");
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  std::fill_n(begin, bytes, std::byte{d.schedule.fresh_byte});
  check_fresh(begin, bytes);
  return begin;
}

void start_block(std::size_t dynamic_bytes) {
  Device& d = device();
  ASAN_POISON_MEMORY_REGION(d.arena, d.arena_bytes);
  d.arena_used = 0;
  d.shared_arrays.clear();
  d.dynamic_bytes = dynamic_bytes;
  take_arena(dynamic_bytes);
  d.failure.clear();
  for (int w = 0; w < d.warp_count; ++w) d.warps[w].arrived = 0;
  for (int i = 0; i < d.thread_count; ++i) {
    Thread& thread = *d.threads[i];
    const unsigned n = static_cast<unsigned>(i);
    thread.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    thread.state = State::kRunnable;
    thread.copies.open.clear();
    thread.copies.groups.clear();
    thread.fiber.start(thread_entry, nullptr);
  }
  check_block_start();
}

bool all_threads(State state) {
  const Device& d = device();
  return std::all_of(d.threads.begin(), d.threads.begin() + d.thread_count,
                     [&](const auto& t) { return t->state == state; });
}

void release_barrier() {
  Device& d = device();
  for (int i = 1; i < d.thread_count; ++i) {
    if (d.threads[i]->where.line != d.threads[0]->where.line) {
      throw EmulatorError(describe_block() + ": threads meet at different barriers: " + describe_threads());
    }
  }
  for (int i = 0; i < d.thread_count; ++i) d.threads[i]->state = State::kRunnable;
  check_barrier();
}

// Lets the thread run to its next barrier, to its next collective or to its end. Returns false if it cannot run.
bool run_thread(int index) {
  Device& d = device();
  Thread& thread = *d.threads[index];
  if (thread.state != State::kRunnable) return false;
  d.current = &thread;
  d.current_index = index;
  threadIdx = thread.index;
  thread.fiber.resume();
  d.current = nullptr;
  if (!d.failure.empty()) throw EmulatorError(concat(describe_block(), ", thread ", index, ": ", d.failure));
  return true;
}

// Runs all threads to the next barrier. In forward and reverse order one warp after the other runs as far as it can without
// the rest of the block, so that warps are as far apart as barriers allow. In shuffled order every thread makes one step at
// a time, so that they stay close together.
void run_to_barrier(std::vector<int>& order) {
  Device& d = device();
  const bool shuffled = d.schedule.order == Schedule::Order::kShuffled;
  const std::size_t batch = shuffled ? order.size() : kWarpLanes;
  for (std::size_t first = 0; first < order.size(); first += batch) {
    for (bool progress = true; progress;) {
      if (shuffled) {
        for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[next_random() % (i + 1)]);
      }
      progress = false;
      for (std::size_t i = first; i < first + batch; ++i) progress |= run_thread(order[i]);
    }
  }
}

void run_block(std::vector<int>& order) {
  while (true) {
    run_to_barrier(order);
    if (all_threads(State::kLeft)) return;
    if (!all_threads(State::kAtBarrier))
      throw EmulatorError(describe_block() + ": threads wait for each other forever: " + describe_threads());
    release_barrier();
  }
}

void wait(State state, const char* what, const Location& where) {
  Thread& thread = *device().current;
  thread.state = state;
  thread.what = what;
  thread.where = where;
  Fiber::suspend();
}

void land(const Copy& copy) {
  if (copy.valid) {
    note_access(copy.global, 16, false);
    std::memcpy(copy.shared, copy.global, 16);
  } else {
    std::memset(copy.shared, 0, 16);
  }
  note_access(copy.shared, 16, true);
}

}  // namespace

void set_schedule(const Schedule& schedule) { device().schedule = schedule; }
void truncate_sums(bool truncated) { device().truncates_sums = truncated; }
bool sums_are_truncated() { return device().truncates_sums; }

bool has_clock() { return !clock_table().empty(); }
double clock_seconds() { return device().clock_seconds; }
void advance_clock(std::string_view work) {
  for (const auto& [begin, milliseconds] : clock_table()) {
    if (work.starts_with(begin)) device().clock_seconds += milliseconds / 1e3;
  }
}

std::uint16_t round_sum(double sum) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const auto sign = static_cast<std::uint16_t>(std::signbit(sum) ? 0x8000 : 0);
  const double magnitude = std::fabs(sum);
  if (std::isnan(sum)) return 0x7fff;
  // The last digit is 2^-10 of the leading one, at least 2^-24. Adding and subtracting `shift` rounds to that digit.
  const int exponent = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
  if (magnitude == kInfinite || exponent > 15) return static_cast<std::uint16_t>(sign | 0x7c00);
  const double digit = std::ldexp(1.0, exponent - 10), shift = digit * 0x1p52;
  const double rounded = sums_are_truncated() ? std::trunc(magnitude / digit) * digit : (magnitude + shift) - shift;
  return static_cast<std::uint16_t>(sign | float_to_half(static_cast<float>(rounded)));
}
bool copies_land_late() { return device().schedule.copies_land_late; }
int lane() { return device().current_index % kWarpLanes; }
int current_thread() { return device().current == nullptr ? -1 : device().current_index; }
std::byte* dynamic_shared_base() { return device().arena; }

bool is_shared(const void* address, std::size_t bytes) {
  const Device& d = device();
  const auto* begin = static_cast<const std::byte*>(address);
  if (begin >= d.arena && begin + bytes <= d.arena + d.dynamic_bytes) return true;
  return std::any_of(d.shared_arrays.begin(), d.shared_arrays.end(),
                     [&](const SharedArray& s) { return begin >= s.begin && begin + bytes <= s.begin + s.bytes; });
}

void fail(std::string&& message) {
  Device& d = device();
  if (d.current == nullptr) throw EmulatorError(message);
  std::string().swap(d.failure);
  d.failure = std::move(message);  // moved out of this stack, which is never unwound
  Fiber::suspend();                // the scheduler throws and does not resume this fiber
  __builtin_unreachable();
}

void barrier(Location where) { wait(State::kAtBarrier, "__syncthreads", where); }

const std::byte* exchange_bytes(const void* value, std::size_t bytes, const char* what, Location where) {
  Device& d = device();
  const int warp_index = d.current_index / kWarpLanes;
  Warp& warp = d.warps[warp_index];
  const std::byte* slots = warp.slots[warp.parity];
  std::memcpy(warp.slots[warp.parity] + lane() * WarpValues<int>::kSlotBytes, value, bytes);
  if (++warp.arrived < kWarpLanes) {
    wait(State::kAtWarp, what, where);
    return slots;
  }
  // This is the last lane. All others wait at the same collective, or the warp has diverged.
  d.current->what = what;
  d.current->where = where;
  d.current->state = State::kAtWarp;
  for (int i = 0; i < kWarpLanes; ++i) {
    const Thread& other = *d.threads[warp_index * kWarpLanes + i];
    if (other.where.line != where.line || (other.what != what && std::strcmp(other.what, what) != 0)) {
      fail("lanes of a warp meet at different collectives: " + describe_threads());
    }
  }
  for (int i = 0; i < kWarpLanes; ++i) d.threads[warp_index * kWarpLanes + i]->state = State::kRunnable;
  warp.arrived = 0;
  warp.parity ^= 1;
  return slots;
}

void warp_barrier(Location where) {
  exchange_bytes("", 0, "__syncwarp", where);
  check_warp_barrier(device().current_index);
}

void* shared_array(const void* site, std::size_t bytes) {
  Device& d = device();
  for (const SharedArray& array : d.shared_arrays) {
    if (array.site == site) return array.begin;
  }
  std::byte* begin = take_arena(bytes);
  d.shared_arrays.push_back({site, begin, bytes});
  std::size_t total = 0;
  for (const SharedArray& array : d.shared_arrays) total += array.bytes;
  if (total > kMaxStaticSharedBytes) fail(concat("static shared memory: ", total, " bytes, more than 48 KiB"));
  if (total + d.dynamic_bytes > kMaxSharedBytes)
    fail(concat("shared memory: ", total + d.dynamic_bytes, " bytes per block, more than 99 KiB"));
  return begin;
}

void start_copy(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 ||
      (valid && reinterpret_cast<std::uintptr_t>(global) % 16 != 0)) {
    fail("cp.async: address is not a multiple of 16 bytes");
  }
  if (!is_shared(shared, 16)) fail("cp.async: destination lies outside shared memory");
  const Copy copy{shared, global, valid};
  if (copies_land_late())
    device().current->copies.open.push_back(copy);
  else
    land(copy);
}

void commit_copies() {
  PendingCopies& copies = device().current->copies;
  copies.groups.push_back(std::move(copies.open));
  copies.open.clear();
}

void wait_copies(int groups_left) {
  auto& groups = device().current->copies.groups;
  while (static_cast<int>(groups.size()) > groups_left) {
    for (const Copy& copy : groups.front()) land(copy);
    groups.pop_front();
  }
}

namespace {

void run_blocks(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, void (*thread)(void*), void* argument) {
  Device& d = device();
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (d.current != nullptr) throw EmulatorError("launch inside a kernel");
  if (threads == 0 || threads > kMaxThreads || threads % kWarpLanes != 0) {
    throw EmulatorError(concat("launch: ", threads, " threads per block; it must be a multiple of 32, at most 1024"));
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu) {
    throw EmulatorError(concat("launch: bad grid ", grid.x, " x ", grid.y, " x ", grid.z));
  }
  if (dynamic_shared_bytes > kMaxSharedBytes) {
    throw EmulatorError(concat("launch: ", dynamic_shared_bytes, " bytes of dynamic shared memory, more than 99 KiB"));
  }
  if (d.arena_memory == nullptr) {
    d.arena_memory = std::make_unique<std::byte[]>(d.arena_bytes + kRedzoneBytes);
    const auto address = reinterpret_cast<std::uintptr_t>(d.arena_memory.get());
    d.arena = d.arena_memory.get() + (kRedzoneBytes - address % kRedzoneBytes);
    check_arena(d.arena, d.arena_bytes);
  }
  d.entry = thread;
  d.argument = argument;
  d.thread_count = static_cast<int>(threads);
  d.warp_count = d.thread_count / kWarpLanes;
  while (static_cast<int>(d.threads.size()) < d.thread_count) d.threads.push_back(std::make_unique<Thread>());
  d.warps.resize(std::max<std::size_t>(d.warps.size(), static_cast<std::size_t>(d.warp_count)));
  blockDim = block;
  gridDim = grid;

  std::vector<int> order(threads);
  std::iota(order.begin(), order.end(), 0);
  if (d.schedule.order == Schedule::Order::kReverse) std::reverse(order.begin(), order.end());
  d.random = d.schedule.seed * 0x9E3779B97F4A7C15ull + 1;

  check_launch();
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t n = 0; n < blocks; ++n) {
    const std::uint64_t i = d.schedule.order == Schedule::Order::kReverse ? blocks - 1 - n : n;
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    start_block(dynamic_shared_bytes);
    run_block(order);
  }
}

}  // namespace

void run_grid(const KernelName& name, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, void (*thread)(void*),
              void* argument) {
  advance_clock(name.text);
  try {
    run_blocks(grid, block, dynamic_shared_bytes, thread, argument);
  } catch (const EmulatorError& error) {
    throw EmulatorError(concat(error.what(), "; ", launch_text(name, grid, block, dynamic_shared_bytes)));
  }
}

}  // namespace shori::emulator
