// Runs a CUDA kernel, compiled by the host compiler, on the CPU. kernels/cuda_common.cuh includes this file instead of
// the CUDA headers when SHORI_CUDA_EMULATOR is defined.
//
// Blocks run one after another. Each thread of a block is a fiber; it runs until it meets a barrier or a warp
// collective, so threads interleave only there. The order in which threads run, the moment at which asynchronous copies
// land and the contents of fresh shared memory are free choices of the hardware; Schedule sets them, and a correct
// kernel gives the same bits under every Schedule. Errors in a kernel are thrown from launch() as EmulatorError.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

// ---- The CUDA language ----------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
// Raw __shared__ is refused: the emulator must know each array to bound, poison and check it. See SHORI_SHARED.
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
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
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
  bool copies_land_late = true;     // cp.async completes at the wait that needs it, else at once
  unsigned char fresh_byte = 0xff;  // fills shared memory at the start of a block; 0xff.. is NaN in every float type
};
// Holds for the launches that follow.
void set_schedule(const Schedule& schedule);

// Limits of the target card, checked at launch (sm_86: 99 KiB a block, of which 48 KiB may be static).
inline constexpr std::size_t kMaxSharedBytes = 99 * 1024;
inline constexpr std::size_t kMaxStaticSharedBytes = 48 * 1024;
inline constexpr int kWarpLanes = 32;

// Where a barrier or collective stands in the source. Not std::source_location, which clang 14 (and so clang-tidy)
// lacks.
struct Location {
  const char* file = "";
  int line = 0;
  static constexpr Location current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// ---- Used by the fakes below and by tensor_core.h
// -----------------------------------------------------------------------

void run_grid(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, void (*thread)(void*), void* argument);
[[noreturn]] void fail(std::string&& message);  // inside a kernel: stops the launch, which throws
void barrier(Location where);
// The barrier of one warp. Orders memory between its lanes, which a shuffle does not.
void warp_barrier(Location where);
int lane();
bool is_shared(const void* address, std::size_t bytes);
void* shared_array(const void* site, std::size_t bytes);
std::byte* dynamic_shared_base();
bool copies_land_late();
struct PendingCopies;
PendingCopies& pending_copies();

// What each lane of the warp gave to a collective.
template <class T>
class WarpValues {
 public:
  explicit WarpValues(const std::byte* slots) : slots_(slots) {}
  T operator[](int lane) const {
    T value;
    std::memcpy(&value, slots_ + lane * kSlotBytes, sizeof(T));
    return value;
  }
  static constexpr std::size_t kSlotBytes = 32;

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

// ---- Observation of memory: the memory checker (memory_check.cpp) and what feeds it
// ---------------------------------------

// Device buffers make themselves known so that races and reads of unwritten bytes can be found in them.
void watch_buffer(const void* begin, std::size_t bytes, bool initialised);
void forget_buffer(const void* begin);
// The host wrote these bytes of a watched buffer.
void define_bytes(const void* begin, std::size_t bytes);
// For accesses made on a thread's behalf by code the compiler does not instrument.
void note_access(const void* address, std::size_t bytes, bool write);

inline void require_full_warp(unsigned mask) {
  if (mask != 0xffffffffu) fail("warp collectives take the full mask 0xffffffff in this project");
}

template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, Location where) {
  require_full_warp(mask);
  return exchange(value, what, where)[source];
}

}  // namespace shori::emulator

// ---- Barriers and warp collectives
// ------------------------------------------------------------------------------------------ `where` is never passed:
// it tells two barriers in the source apart, to find threads that meet at different ones.

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

// ---- Intrinsics
// ---------------------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }  // the device result may be 2 ulp away
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

// Threads do not interleave between collectives, so a plain read-modify-write is atomic. The attribute hides it from
// the memory checker.
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
template <class T>
__attribute__((no_sanitize("thread"))) T atomicCAS(T* address, std::type_identity_t<T> compare,
                                                   std::type_identity_t<T> value) {
  const T old = *address;
  if (old == compare) *address = value;
  return old;
}

// ---- What cuda_common.cuh builds on
// -------------------------------------------------------------------------------------------

// One array shared by the threads of a block: SHORI_SHARED(float, tile, [32][33]); then tile[i][j].
#define SHORI_SHARED(type, name, extent)  \
  static constexpr char name##_site_ = 0; \
  auto& name = *static_cast<type(*) extent>(::shori::emulator::shared_array(&name##_site_, sizeof(type extent)))

namespace shori {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulator::dynamic_shared_base());
}

// Same signature as the CUDA version; the stream is ignored because a launch is complete when it returns.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t,
            Args&&... args) {
  std::tuple<void (*)(Params...), std::decay_t<Params>...> call(kernel, std::forward<Args>(args)...);
  emulator::run_grid(
      grid, block, dynamic_shared_bytes,
      [](void* argument) {
        std::apply([](auto function, auto... values) { function(values...); }, *static_cast<decltype(call)*>(argument));
      },
      &call);
}

}  // namespace shori

#include "tests/cuda_emulator/tensor_core.h"
