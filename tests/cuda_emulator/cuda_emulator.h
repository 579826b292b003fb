// Runs a CUDA kernel, compiled by the host compiler, on the CPU. kernels/common/cuda_common.cuh includes this file instead
// of the CUDA headers if SHORI_CUDA_EMULATOR is defined. kernels/README.md describes what the emulator checks.
//
// Thread blocks run one after another. Each thread of a block is a fiber that runs until it meets a barrier or a warp
// collective, so threads interleave only there. The hardware is free to choose the order of threads, the moment at which
// asynchronous copies arrive and the contents of new shared memory. Here a Schedule chooses them, and a correct kernel gives
// the same bits under every Schedule. launch() throws errors in a kernel as EmulatorError.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/common/named_kernel.h"

// ---- The CUDA language ----

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
// Raw __shared__ is an error, because the emulator must know each array to check accesses to it. See SHORI_SHARED.
#define __shared__ static_assert(false, "declare shared memory with SHORI_SHARED or dynamic_shared()");

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using cudaStream_t = struct CUstream_st*;

inline constinit uint3 threadIdx{}, blockIdx{};
inline constinit dim3 blockDim{}, gridDim{};

namespace shori::emulator {

class EmulatorError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Schedule {
  enum class Order { kForward, kReverse, kShuffled };
  Order order = Order::kForward;
  std::uint64_t seed = 1;           // for kShuffled
  bool copies_land_late = true;     // cp.async copies at the wait for it; false: at once
  unsigned char fresh_byte = 0xff;  // fills shared memory at the start of a block; 0xff.. is NaN in every float type
};
// Sets the schedule of the launches that follow.
void set_schedule(const Schedule& schedule);

// How mma rounds fp16 sums from now on: to the nearest value, or towards zero. Which of them hardware does is not documented,
// so the accuracy of a kernel has to hold for both. SHORI_EMULATED_SUMS=truncated in the environment makes the second the
// default.
void truncate_sums(bool truncated);
bool sums_are_truncated();

// A clock that a test sets: with SHORI_EMULATED_CLOCK="nf4_product=0.9,device_matmul=1" in the environment, work whose name
// begins with one of these texts takes so many milliseconds, and other work none. Work is each launch, by the name of its kernel,
// and each product of device_matmul().
bool has_clock();
double clock_seconds();
void advance_clock(std::string_view work);

// Limits of the smallest supported card, checked at launch: 99 KiB of shared memory per block, 48 KiB of it static (sm_86).
inline constexpr std::size_t kMaxSharedBytes = 99 * 1024;
inline constexpr std::size_t kMaxStaticSharedBytes = 48 * 1024;
inline constexpr int kWarpLanes = 32;

// The source location of a barrier or collective. It is not std::source_location, which clang 14 (and so clang-tidy) lacks.
struct Location {
  const char* file = "";
  int line = 0;
  static constexpr Location current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// ---- Used by the functions below and by tensor_core.h ----

void run_grid(const KernelName& name, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, void (*thread)(void*),
              void* argument);
// What a device backend does before work of a stream begins; null without one.
inline void (*before_launch)(void* stream) = nullptr;
[[noreturn]] void fail(std::string&& message);  // inside a kernel: stops the launch, which throws
void barrier(Location where);
// The barrier of one warp. It orders memory between the lanes, which a shuffle does not.
void warp_barrier(Location where);
int lane();
bool is_shared(const void* address, std::size_t bytes);
void* shared_array(const void* site, std::size_t bytes);
std::byte* dynamic_shared_base();
bool copies_land_late();

// The values that the lanes of a warp gave to a collective.
template <class T>
class WarpValues {
 public:
  explicit WarpValues(const std::byte* slots) : slots_(slots) {}
  T operator[](int lane) const {
    T value;
    std::memcpy(&value, slots_ + lane * kSlotBytes, sizeof(T));
    return value;
  }
  static constexpr std::size_t kSlotBytes = 48;  // the operands of mma

 private:
  const std::byte* slots_;
};
const std::byte* exchange_bytes(const void* value, std::size_t bytes, const char* what, Location where);

// Waits until all 32 lanes have given a value to the same collective.
template <class T>
WarpValues<T> exchange(const T& value, const char* what, Location where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= WarpValues<T>::kSlotBytes);
  return WarpValues<T>(exchange_bytes(&value, sizeof(T), what, where));
}

// ---- The memory checker (memory_check.cpp) ----

// Registers a device buffer, so that races, reads of unwritten bytes in it and accesses across its end are found.
void watch_buffer(const void* begin, std::size_t bytes, bool initialised);
void forget_buffer(const void* begin);
// Marks bytes of a watched buffer as written by the host.
void define_bytes(const void* begin, std::size_t bytes);
// Makes any access to bytes of a watched buffer an error, or allows it again.
void forbid_bytes(const void* begin, std::size_t bytes, bool forbidden);
// Records an access that code without instrumentation makes for the current thread.
void note_access(const void* address, std::size_t bytes, bool write);
// Whether kernels of this program were compiled for it.
bool memory_is_checked();

inline void require_full_warp(unsigned mask) {
  if (mask != 0xffffffffu) fail("warp collectives take the full mask 0xffffffff in this project");
}

template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, Location where) {
  require_full_warp(mask);
  return exchange(value, what, where)[source];
}

}  // namespace shori::emulator

// ---- Barriers and warp collectives ----
//
// Callers never pass `where`. Its default differs between two barriers in the source, so that threads that meet at different
// barriers are found.

inline void __syncthreads(shori::emulator::Location where = shori::emulator::Location::current()) {
  shori::emulator::barrier(where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       shori::emulator::Location where = shori::emulator::Location::current()) {
  shori::emulator::require_full_warp(mask);
  shori::emulator::warp_barrier(where);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int = 32,
              shori::emulator::Location where = shori::emulator::Location::current()) {
  return shori::emulator::shuffle(mask, value, source & 31, "__shfl_sync", where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int = 32,
                  shori::emulator::Location where = shori::emulator::Location::current()) {
  return shori::emulator::shuffle(mask, value, (shori::emulator::lane() ^ bits) & 31, "__shfl_xor_sync", where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int = 32,
                   shori::emulator::Location where = shori::emulator::Location::current()) {
  const int source = shori::emulator::lane() + static_cast<int>(delta);
  return shori::emulator::shuffle(mask, value, source < 32 ? source : shori::emulator::lane(), "__shfl_down_sync",
                                  where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int = 32,
                 shori::emulator::Location where = shori::emulator::Location::current()) {
  const int source = shori::emulator::lane() - static_cast<int>(delta);
  return shori::emulator::shuffle(mask, value, source >= 0 ? source : shori::emulator::lane(), "__shfl_up_sync", where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              shori::emulator::Location where = shori::emulator::Location::current()) {
  shori::emulator::require_full_warp(mask);
  const auto votes = shori::emulator::exchange(predicate, "__ballot_sync", where);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane) result |= (votes[lane] != 0 ? 1u : 0u) << lane;
  return result;
}
inline int __any_sync(unsigned mask, int predicate,
                      shori::emulator::Location where = shori::emulator::Location::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      shori::emulator::Location where = shori::emulator::Location::current()) {
  return __ballot_sync(mask, predicate, where) == 0xffffffffu;
}

// ---- Intrinsics ----

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }

// Threads do not interleave between collectives, so a plain read-modify-write is atomic. The attribute keeps it out of the
// memory checker.
template <class T>
__attribute__((no_sanitize("thread"))) T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <class T>
__attribute__((no_sanitize("thread"))) T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
// ---- Shared memory and launches, as cuda_common.cuh defines them for CUDA ----

// An array shared by the threads of a block: after SHORI_SHARED(float, tile, [32][33]) it is used as tile[i][j].
#define SHORI_SHARED(type, name, extent)  \
  static constexpr char name##_site_ = 0; \
  auto& name = *static_cast<type(*) extent>(::shori::emulator::shared_array(&name##_site_, sizeof(type extent)))

namespace shori {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulator::dynamic_shared_base());
}

// The signature of the CUDA version. A launch is complete when it returns.
template <class... Params, class... Args>
void launch(const NamedKernel<Params...>& kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, Args&&... args) {
  if (emulator::before_launch != nullptr) emulator::before_launch(stream);
  std::tuple<void (*)(Params...), std::decay_t<Params>...> call(kernel.function, std::forward<Args>(args)...);
  emulator::run_grid(
      kernel.name, grid, block, dynamic_shared_bytes,
      [](void* argument) {
        std::apply([](auto function, auto... values) { function(values...); }, *static_cast<decltype(call)*>(argument));
      },
      &call);
}

}  // namespace shori

#include "tests/cuda_emulator/tensor_core.h"
