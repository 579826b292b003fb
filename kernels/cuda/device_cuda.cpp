// The device backend `cuda`: one NVIDIA GPU, the first that CUDA_VISIBLE_DEVICES shows.
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "kernels/common/cuda_check.h"
#include "kernels/cuda/architectures.h"
#include "kernels/cuda/late_libraries.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/opened_device.h"
#include "shori/util/byte_size.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr int kDevice = 0;
constexpr char kDriverNeeded[] = "580.65.06";  // the first driver of CUDA 13.0
// The FlashAttention of libtorch 2.11.0 has machine code for these cards and no virtual code.
constexpr char kAttentionArchitectures[] = "80-real,86-real,90-real,100-real,120-real";

struct State {
  std::optional<DeviceInfo> info;
  std::string pci_bus_id;
  std::map<void*, std::size_t> allocations;
  std::size_t in_use = 0, peak = 0;
  std::optional<std::size_t> limit;  // for our allocations and libtorch's together
};
State& state() {
  static State* const device = new State;  // never destroyed, because static objects may own device memory
  return *device;
}

// 13000 -> "13.0"
std::string cuda_release(int number) { return concat(number / 1000, ".", number % 1000 / 10); }

Diagnostic no_usable_gpu(const std::string& message) {
  Diagnostic diagnostic("E0404", message);
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    diagnostic.note(std::string("CUDA_VISIBLE_DEVICES=") + visible);
  }
  return diagnostic.help("`nvidia-smi` shows what the driver sees; `device: cpu` runs tiny models");
}

void check_driver() {
  int supported = 0;
  if (cudaDriverGetVersion(&supported) != cudaSuccess || supported == 0) {
    throw Error(no_usable_gpu("no NVIDIA driver is loaded"));
  }
  if (supported >= CUDART_VERSION / 1000 * 1000) return;
  const std::string driver = nvml_driver_version();
  throw Error(Diagnostic("E0403", "driver " + (driver.empty() ? "of CUDA " + cuda_release(supported) : driver) +
                                      " is too old for CUDA " + cuda_release(CUDART_VERSION))
                  .note(std::string("needs >= ") + kDriverNeeded)
                  .help("update the driver"));
}

void choose_device() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice || (counted == cudaSuccess && count == 0)) {
    throw Error(no_usable_gpu("the driver shows no GPU"));
  }
  SHORI_CUDA_CHECK(counted);
  std::array<char, 32> address{};
  if (cudaDeviceGetPCIBusId(address.data(), address.size(), kDevice) == cudaSuccess)
    state().pci_bus_id = address.data();
  const cudaError_t chosen = cudaSetDevice(kDevice);  // makes the context
  if (chosen == cudaErrorDevicesUnavailable) {
    Diagnostic diagnostic = no_usable_gpu("the GPU is held exclusively by another process");
    for (const std::string& process : nvml_other_processes(state().pci_bus_id)) diagnostic.note(process);
    throw Error(diagnostic);
  }
  SHORI_CUDA_CHECK(chosen);
}

void check_architecture(const DeviceInfo& info) {
  const bool ours = has_code_for(SHORI_CUDA_ARCHITECTURES, info.sm_major, info.sm_minor);
  if (ours && has_code_for(kAttentionArchitectures, info.sm_major, info.sm_minor)) return;
  const std::string number = std::to_string(info.sm_major * 10 + info.sm_minor);
  Diagnostic diagnostic("E0402", "this program has code for " +
                                     std::string(ours ? kAttentionArchitectures : SHORI_CUDA_ARCHITECTURES) +
                                     ", the GPU is sm_" + number + " (" + info.name + ")");
  if (ours) {
    diagnostic.note("that is the list of libtorch's attention");
  }
  if (has_code_for(kAttentionArchitectures, info.sm_major, info.sm_minor)) {
    diagnostic.help("configure the build with -DCMAKE_CUDA_ARCHITECTURES=" + number);
  } else {
    diagnostic.help("cards of compute capability 8.x, 9.0, 10.x and 12.x are supported");
  }
  throw Error(diagnostic);
}

DeviceInfo read_info() {
  cudaDeviceProp properties{};
  SHORI_CUDA_CHECK(cudaGetDeviceProperties(&properties, kDevice));
  DeviceInfo info{.name = properties.name,
                  .sm_major = properties.major,
                  .sm_minor = properties.minor,
                  .sm_count = properties.multiProcessorCount,
                  .driver = nvml_driver_version()};
  SHORI_CUDA_CHECK(cudaMemGetInfo(&info.free_bytes, &info.total_bytes));
  return info;
}

cudaStream_t as_stream(void* handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t as_event(void* handle) { return static_cast<cudaEvent_t>(handle); }

// Libtorch's allocator may take what our own allocations leave of the limit.
void share_limit() {
  const State& device = state();
  if (!device.limit) return;
  const std::size_t left = *device.limit - std::min(device.in_use, *device.limit);
  const double share = static_cast<double>(left) / static_cast<double>(device.info->total_bytes);
  c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(share, 1.0), kDevice);
}

// Reports why `bytes` could not be allocated: another process took memory since the device was opened, or it is too much.
[[noreturn]] void throw_no_memory(std::size_t bytes) {
  cudaGetLastError();  // clears the error, so that the next check does not see it
  const State& device = state();
  std::size_t free_now = 0, total = 0;
  SHORI_CUDA_CHECK(cudaMemGetInfo(&free_now, &total));
  const std::size_t expected = device.info->free_bytes - std::min(device.in_use, device.info->free_bytes);
  const bool taken = bytes <= expected && free_now < expected;
  Diagnostic diagnostic(taken ? "E0405" : "E0401",
                        taken ? "another process took " + format_gib(expected - free_now) + " of GPU memory"
                              : format_gib(bytes) + " of GPU memory are needed, " + format_gib(free_now) + " are free");
  diagnostic.note("this process holds " + format_gib(device.in_use) + " of the GPU's " + format_gib(total));
  for (const std::string& process : nvml_other_processes(device.pci_bus_id)) diagnostic.note(process);
  throw Error(diagnostic.help(taken ? "end that process and start again" : "`--plan` shows what would fit"));
}

[[noreturn]] void throw_beyond_limit(std::size_t bytes) {
  const State& device = state();
  throw Error(Diagnostic("E0401", format_gib(device.in_use + bytes) + " of GPU memory are needed, the limit is " +
                                      format_gib(*device.limit))
                  .help("`--plan` shows what would fit"));
}

}  // namespace

bool opened_device_is_listed() { return !state().info || nvml_lists_device(state().pci_bus_id).value_or(true); }

std::string_view device_backend() { return "cuda"; }

const DeviceInfo& open_device() {
  State& device = state();
  if (device.info) return *device.info;
  check_driver();
  choose_device();
  const DeviceInfo info = read_info();
  check_architecture(info);
  load_cuda_libraries();
  device.info = info;
  return *device.info;
}

// The stream does not wait for the default stream, so that two streams overlap.
DeviceStream::DeviceStream() {
  cudaStream_t stream = nullptr;
  SHORI_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  handle_ = stream;
}
DeviceStream::~DeviceStream() { cudaStreamDestroy(as_stream(handle_)); }

DeviceEvent::DeviceEvent() {
  cudaEvent_t event = nullptr;
  SHORI_CUDA_CHECK(cudaEventCreate(&event));
  handle_ = event;
}
DeviceEvent::~DeviceEvent() { cudaEventDestroy(as_event(handle_)); }
void DeviceEvent::record(void* stream) { SHORI_CUDA_CHECK(cudaEventRecord(as_event(handle_), as_stream(stream))); }
void DeviceEvent::synchronize() const { SHORI_CUDA_CHECK(cudaEventSynchronize(as_event(handle_))); }
double DeviceEvent::seconds_since(const DeviceEvent& earlier) const {
  float milliseconds = 0;
  SHORI_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, as_event(earlier.handle_), as_event(handle_)));
  return milliseconds * 1e-3;
}

void* device_allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  State& device = state();
  if (device.limit && device.in_use + bytes > *device.limit) throw_beyond_limit(bytes);
  void* memory = nullptr;
  cudaError_t result = cudaMalloc(&memory, bytes);
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clears the error, so that the next check does not see it
    // Libtorch caches what the attention of an earlier stage used.
    c10::cuda::CUDACachingAllocator::emptyCache();
    result = cudaMalloc(&memory, bytes);
  }
  if (result == cudaErrorMemoryAllocation) throw_no_memory(bytes);
  SHORI_CUDA_CHECK(result);
  device.allocations[memory] = bytes;
  device.in_use += bytes;
  device.peak = std::max(device.peak, device.in_use);
  share_limit();
  return memory;
}

void device_free(void* memory) noexcept {
  if (memory == nullptr) return;
  State& device = state();
  const auto known = device.allocations.find(memory);
  if (known != device.allocations.end()) {
    device.in_use -= known->second;
    device.allocations.erase(known);
  }
  cudaFree(memory);
}

void limit_device_memory(std::size_t bytes) {
  state().limit = bytes;
  at::globalContext().lazyInitDevice(at::kCUDA);  // creates libtorch's allocator
  share_limit();
}

void* pinned_allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  const cudaError_t result = cudaHostAlloc(&memory, bytes, cudaHostAllocDefault);
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(Diagnostic("E0401", format_gib(bytes) + " of page-locked host memory cannot be allocated")
                    .help("free host memory, or raise the limit that `ulimit -l` shows"));
  }
  SHORI_CUDA_CHECK(result);
  return memory;
}
void pinned_free(void* memory) noexcept { cudaFreeHost(memory); }

void copy_to_device(void* to, const void* from, std::size_t bytes, void* stream) {
  SHORI_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, as_stream(stream)));
  finish_call(stream, "copy_to_device");
}
void copy_to_host(void* to, const void* from, std::size_t bytes, void* stream) {
  SHORI_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, as_stream(stream)));
  finish_call(stream, "copy_to_host");
}
void copy_on_device(void* to, const void* from, std::size_t bytes, void* stream) {
  SHORI_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, as_stream(stream)));
  finish_call(stream, "copy_on_device");
}
void copy_rows_on_device(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t bytes,
                         std::size_t rows, void* stream) {
  if (bytes == 0 || rows == 0) return;
  SHORI_CUDA_CHECK(
      cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, bytes, rows, cudaMemcpyDeviceToDevice, as_stream(stream)));
  finish_call(stream, "copy_rows_on_device");
}
void fill_zero_on_device(void* memory, std::size_t bytes, void* stream) {
  if (bytes == 0) return;
  SHORI_CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes, as_stream(stream)));
  finish_call(stream, "fill_zero_on_device");
}
void synchronize_stream(void* stream) { SHORI_CUDA_CHECK(cudaStreamSynchronize(as_stream(stream))); }

std::size_t device_bytes_in_use() {
  std::size_t free_now = 0, total = 0;
  SHORI_CUDA_CHECK(cudaMemGetInfo(&free_now, &total));
  return total - free_now;
}
std::size_t device_peak_bytes() { return state().peak; }

}  // namespace shori
