// Timing of single kernels: the median of launches with a cold cache, compared with a copy and a large product of the same
// run. On the emulator all sizes are tiny and the times mean nothing; it only proves that every entry runs.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/common/device_array.h"
#include "kernels/common/device_matmul.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/quant/nf4_levels.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori::bench {

inline bool emulated() { return device_backend() == "emulated"; }

// Mistral-7B, a pack of 16,384 tokens, the MLP in tiles of 4,096.
struct Sizes {
  std::int64_t tokens = 16384, tile = 4096, hidden = 4096, kv = 1024, feed_forward = 14336, vocabulary = 32000;
  std::int64_t rank = 20, heads = 32, kv_heads = 8, layers = 32;
};
inline const Sizes& sizes() {
  static const Sizes list = emulated() ? Sizes{70, 40, 128, 64, 192, 512, 20, 4, 2, 1} : Sizes{};
  return list;
}

using DeviceBytes = DeviceArray<std::byte>;

// Fills memory with one random chunk, repeated. The values are random because a GPU clocks higher on zeros.
template <class Make>
inline void fill(std::byte* to, std::size_t bytes, const Make& make) {
  using T = decltype(make());
  std::vector<T> chunk(std::min<std::size_t>(bytes / sizeof(T), std::size_t{1} << 16));
  for (T& value : chunk) value = make();
  for (std::size_t done = 0; done < bytes; done += chunk.size() * sizeof(T)) {
    copy_to_device(to + done, chunk.data(), std::min(bytes - done, chunk.size() * sizeof(T)), nullptr);
  }
  synchronize_stream(nullptr);
}

class Tensor {
 public:
  Tensor(std::int64_t rows, std::int64_t cols, DType dtype = DType::kBf16, float deviation = 1.0f)
      : bytes_(static_cast<std::size_t>(rows * cols) * size_of(dtype)), rows_(rows), cols_(cols), dtype_(dtype) {
    std::mt19937 generator(static_cast<std::uint32_t>(rows + 7 * cols));
    std::normal_distribution<float> normal(0.0f, deviation);
    const std::size_t size = static_cast<std::size_t>(rows * cols) * size_of(dtype);
    if (dtype == DType::kBf16) fill(bytes_.get(), size, [&] { return to_bf16(normal(generator)); });
    if (dtype == DType::kF32) fill(bytes_.get(), size, [&] { return normal(generator); });
    if (dtype == DType::kU8) fill(bytes_.get(), size, [&] { return static_cast<std::uint8_t>(generator()); });
    if (dtype == DType::kI32) fill_zero_on_device(bytes_.get(), size, nullptr);
  }
  TensorView view() const { return {bytes_.get(), dtype_, rows_, cols_, cols_}; }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(bytes_.get());
  }

 private:
  DeviceBytes bytes_;
  std::int64_t rows_, cols_;
  DType dtype_;
};

// The memory of an Int32Array on both sides.
class Integers {
 public:
  explicit Integers(std::vector<std::int32_t> values) : host_(std::move(values)), device_(host_) {}
  Int32Array array() const { return {host_, device_.get()}; }

 private:
  std::vector<std::int32_t> host_;
  DeviceArray<std::int32_t> device_;
};

// Random NF4 weights with LoRA.
class Group {
 public:
  Group(std::int64_t in, const std::vector<std::int64_t>& outs, std::int64_t rank, int first_index = 0) {
    for (std::size_t i = 0; i < outs.size(); ++i) {
      const std::int64_t out = outs[i];
      const Nf4Layout layout{out, in};
      const Tensor &codes = make(layout.codes(), DType::kU8), &absmax = make(layout.blocks(), DType::kU8),
                   &absmax2 = make(layout.groups(), DType::kF32);
      LinearModule module{.weight = FrozenWeight::of({layout, codes.data<std::uint8_t>(), absmax.data<std::uint8_t>(),
                                                      absmax2.data<float>(), 0.02f}),
                          .linear = static_cast<Linear>(first_index + static_cast<int>(i))};
      if (rank > 0) {
        module.lora_index = static_cast<int>(i);
        module.a = make(rank * in, DType::kBf16).view().data;
        module.b_scaled = make(rank * out, DType::kBf16).view().data;
        module.da = make(rank * in, DType::kF32).data<float>();
        module.db = make(rank * out, DType::kF32).data<float>();
      }
      modules_.push_back(module);
    }
    group_ = {modules_, rank, 0.8f};
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  const LinearGroup& group() const { return group_; }
  std::int64_t fused_in() const { return group_.fused_in(); }
  double weights() const { return static_cast<double>(group_.in()) * static_cast<double>(group_.out()); }

 private:
  const Tensor& make(std::int64_t count, DType dtype) {
    return *tensors_.emplace_back(std::make_unique<Tensor>(1, count, dtype, 0.02f));
  }
  std::vector<std::unique_ptr<Tensor>> tensors_;
  std::vector<LinearModule> modules_;
  LinearGroup group_;
};

// The compute stream and one workspace for all ops.
class Runner {
 public:
  static Runner& instance() {
    static Runner runner;
    return runner;
  }
  OpContext context() { return {.device = Device::kCuda, .stream = stream_.handle(), .workspace = &workspace_}; }

  // SHORI_BENCH_LAUNCHES=n in the environment: at most n launches an entry, for a first look.
  static int max_launches() {
    static const char* const text = std::getenv("SHORI_BENCH_LAUNCHES");
    return text == nullptr ? 1 << 30 : std::max(1, std::atoi(text));
  }

  // The median of `launches` calls. Before each of them the cache is filled with other bytes.
  double median_seconds(const std::function<void()>& launch, int launches) {
    launches = emulated() ? 1 : std::min(launches, max_launches());
    if (!emulated()) launch();  // loads the kernel and chooses algorithms
    std::vector<double> seconds;
    for (int i = 0; i < launches; ++i) {
      fill_zero_on_device(flush_.get(), flush_bytes(), stream_.handle());
      DeviceEvent start, stop;
      start.record(stream_.handle());
      launch();
      stop.record(stream_.handle());
      stop.synchronize();
      seconds.push_back(stop.seconds_since(start));
    }
    std::nth_element(seconds.begin(), seconds.begin() + launches / 2, seconds.end());
    return std::max(seconds[static_cast<std::size_t>(launches / 2)], 1e-9);
  }

  // Measures what all entries are compared with. What fails stays 0, and the reason is returned.
  std::string measure_references() {
    std::string failures;
    for (const auto& [name, measured, work] : {std::tuple{"copy", &copy_bandwidth_, &Runner::time_copy},
                                               {"product", &matmul_peak_, &Runner::time_product}}) {
      try {
        *measured = (this->*work)();
      } catch (const Error& error) {
        failures += concat(name, ": ", error.what(), "\n");
      }
    }
    return failures;
  }

  // Bytes read and written a second by a copy on the device.
  double copy_bandwidth() const { return copy_bandwidth_; }
  // FLOP a second of a square product of 8,192.
  double matmul_peak() const { return matmul_peak_; }

 private:
  double time_copy() {
    const std::size_t bytes = emulated() ? 4096 : std::size_t{1} << 30;
    const DeviceBytes from(bytes), to(bytes);
    return 2.0 * static_cast<double>(bytes) /
           median_seconds([&] { copy_on_device(to.get(), from.get(), bytes, stream_.handle()); }, 20);
  }
  double time_product() {
    const std::int64_t n = emulated() ? 64 : 8192;
    const Tensor a(n, n), b(n, n), c(n, n);
    const double flop = 2.0 * static_cast<double>(n * n) * static_cast<double>(n);
    return flop /
           median_seconds([&] { device_matmul(context(), MatmulB::kTransposed, a.view(), b.view(), c.view()); }, 20);
  }

  static std::size_t flush_bytes() { return emulated() ? 256 : std::size_t{256} << 20; }  // twice the largest L2
  Runner() : flush_(flush_bytes()), region_(region_bytes()), workspace_(region_.get(), region_bytes()) {}
  static std::size_t region_bytes() { return emulated() ? std::size_t{8} << 20 : std::size_t{768} << 20; }

  DeviceStream stream_;
  DeviceBytes flush_, region_;
  Workspace workspace_;
  double copy_bandwidth_ = 0, matmul_peak_ = 0;
};

// The bytes that an op must move and the FLOP that it must compute; 0: not stated.
struct Cost {
  double bytes = 0, flop = 0;
};

// Once a kernel has faulted, every later call of the process fails as well.
inline bool& device_is_lost() {
  static bool lost = false;
  return lost;
}
inline bool answers() {
  try {
    synchronize_stream(nullptr);
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline std::string words_of(const Error& error) {
  const Diagnostic& diagnostic = error.diagnostics().front();
  return concat(diagnostic.code, ": ", diagnostic.message, diagnostic.notes.empty() ? "" : "; ",
                diagnostic.notes.empty() ? "" : diagnostic.notes.front());
}

// Runs `work`. An Error becomes the reason why this entry has no figure; the entries after it run unless the device is lost.
inline void guarded(benchmark::State& state, const std::function<void()>& work) {
  if (device_is_lost()) return state.SkipWithError("not run: the device was lost in an entry before");
  try {
    work();
  } catch (const Error& error) {
    device_is_lost() = !answers();
    state.SkipWithError(words_of(error).c_str());
  }
}

inline void measure(benchmark::State& state, Cost cost, const std::function<void(const OpContext&)>& op) {
  Runner& runner = Runner::instance();
  const OpContext context = runner.context();
  double seconds = 0;
  for (auto _ : state) {
    seconds = runner.median_seconds([&] { op(context); }, 50);
    state.SetIterationTime(seconds);
  }
  if (cost.bytes > 0) {
    state.counters["GB/s"] = cost.bytes / seconds / 1e9;
    if (const double copy = runner.copy_bandwidth(); copy > 0) {
      state.counters["share_of_copy"] = cost.bytes / seconds / copy;
    }
  }
  if (cost.flop > 0) {
    state.counters["TFLOP/s"] = cost.flop / seconds / 1e12;
    if (const double peak = runner.matmul_peak(); peak > 0) {
      state.counters["share_of_matmul"] = cost.flop / seconds / peak;
    }
  }
}

// Registers one entry; `setup` runs when the entry does, and calls measure().
inline void entry(const std::string& name, const std::function<void(benchmark::State&)>& setup) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [setup](benchmark::State& state) { guarded(state, [&] { setup(state); }); })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace shori::bench
