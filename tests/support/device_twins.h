// Operands with the same bytes in host and in device memory, for tests that compare an op on the device with the CPU
// version: matrices, and groups of linears with LoRA.
#pragma once

#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/common/device_array.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/tensor_view.h"
#include "shori/quant/nf4.h"
#include "shori/util/error.h"
#include "tests/support/device_test.h"
#include "tests/support/module_shape.h"

namespace shori::testing {

// A matrix; its rows may be longer than `cols`. Ops write to either side alone.
template <class T>
class TwinMatrix {
 public:
  TwinMatrix(std::int64_t rows, std::int64_t cols, std::vector<T> values, std::int64_t stride = 0)
      : rows_(rows), cols_(cols), stride_(stride == 0 ? cols : stride), host_(std::move(values)), device_(host_) {
    SHORI_CHECK(static_cast<std::int64_t>(host_.size()) == rows * stride_, "TwinMatrix: values do not fill the rows");
  }
  TensorView host() { return {host_.data(), dtype(), rows_, cols_, stride_}; }
  TensorView device() { return {device_.get(), dtype(), rows_, cols_, stride_}; }
  const std::vector<T>& host_values() const { return host_; }
  std::vector<T> device_values() const { return device_.to_host(); }

 private:
  static constexpr DType dtype() {
    return sizeof(T) == 1             ? DType::kU8
           : sizeof(T) == 2           ? DType::kBf16
           : std::is_same_v<T, float> ? DType::kF32
                                      : DType::kI32;
  }
  std::int64_t rows_, cols_, stride_;
  std::vector<T> host_;
  DeviceArray<T> device_;
};

// How TwinGroup stores its weights.
enum class TwinWeights { kNf4, kNf4FlatScales, kBf16 };

// A group of linears with random weights and factors.
class TwinGroup {
 public:
  static constexpr float kScaling = 0.8f;

  TwinGroup(std::int64_t in, std::int64_t rank, const std::vector<ModuleShape>& modules, TwinWeights weights,
            std::uint32_t seed) {
    int lora_count = 0;
    for (const ModuleShape& module : modules) {
      Part& part = *parts_.emplace_back(std::make_unique<Part>(in, rank, module, weights, seed));
      seed += 10;
      LinearModule linear{.weight = part.on_host, .index = module.index};
      if (module.lora) {
        linear.lora_index = lora_count++;
        linear.a = part.a.host().data;
        linear.b_scaled = part.b.host().data;
      }
      host_modules_.push_back(linear);
      linear.weight = part.on_device;
      if (module.lora) {
        linear.a = part.a.device().data;
        linear.b_scaled = part.b.device().data;
      }
      device_modules_.push_back(linear);
    }
    host_ = {host_modules_, rank, kScaling};
    device_ = {device_modules_, rank, kScaling};
  }
  TwinGroup(const TwinGroup&) = delete;
  TwinGroup& operator=(const TwinGroup&) = delete;

  const LinearGroup& host() const { return host_; }
  const LinearGroup& device() const { return device_; }

 private:
  struct Part {
    Part(std::int64_t in, std::int64_t rank, const ModuleShape& module, TwinWeights weights, std::uint32_t seed)
        : dense(module.out, in, random(module.out * in, seed)),
          nf4(*quantize_nf4(floats(dense.host_values()), module.out, in)),
          codes(nf4.codes),
          absmax(nf4.absmax),
          absmax2(nf4.absmax2),
          host_scales(flat_scales(nf4)),
          scales(host_scales),
          a(rank, in, random(rank * in, seed + 1)),
          b(module.out, rank, random(module.out * rank, seed + 2)) {
      on_host = {.dtype = weights == TwinWeights::kBf16 ? DType::kBf16 : DType::kU8, .rows = module.out, .cols = in};
      on_device = on_host;
      if (weights == TwinWeights::kBf16) {
        on_host.dense = dense.host().data;
        on_device.dense = dense.device().data;
        return;
      }
      on_host.codes = nf4.codes.data();
      on_device.codes = codes.get();
      if (weights == TwinWeights::kNf4FlatScales) {
        on_host.scales = host_scales.data();
        on_device.scales = scales.get();
        return;
      }
      on_host.absmax = nf4.absmax.data();
      on_host.absmax2 = nf4.absmax2.data();
      on_device.absmax = absmax.get();
      on_device.absmax2 = absmax2.get();
      on_host.offset = on_device.offset = nf4.offset;
    }
    static std::vector<Bf16> random(std::int64_t count, std::uint32_t seed) {
      return normal_bf16(static_cast<std::size_t>(count), seed, 0.05f);
    }
    // Scales that nested scales could not represent.
    static std::vector<float> flat_scales(const Nf4Tensor& tensor) {
      std::vector<float> result;
      for (std::int64_t block = 0; block * kNf4BlockSize < tensor.count(); ++block) {
        result.push_back(nf4_block_scale(tensor, block) * (1.0f + 0.01f * static_cast<float>(block % 7)));
      }
      return result;
    }

    TwinMatrix<Bf16> dense;
    Nf4Tensor nf4;
    DeviceArray<std::uint8_t> codes, absmax;
    DeviceArray<float> absmax2;
    std::vector<float> host_scales;
    DeviceArray<float> scales;
    TwinMatrix<Bf16> a, b;
    FrozenWeight on_host, on_device;
  };
  std::vector<std::unique_ptr<Part>> parts_;
  std::vector<LinearModule> host_modules_, device_modules_;
  LinearGroup host_, device_;
};

}  // namespace shori::testing
