// Operands with the same bytes in host and in device memory, for tests that compare an op on the device with the CPU
// version: matrices, and groups of linears with LoRA.
#pragma once

#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/common/device_array.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/error.h"
#include "tests/support/device_test.h"
#include "tests/support/module_shape.h"
#include "tests/support/nf4_vectors.h"

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

// A group of linears, and the rows that a test sends through it. `why` says what the case is for.
struct LinearCase {
  const char* why;
  std::int64_t tokens, in, rank;
  std::vector<ModuleShape> modules;
  TwinWeights weights = TwinWeights::kNf4;
};

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
      LinearModule linear{.weight = part.on_host, .linear = module.linear};
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
          flat(flat_scales(nf4)),
          codes(nf4.codes),
          absmax(nf4.absmax),
          absmax2(nf4.absmax2),
          scales(flat.scales),
          a(rank, in, random(rank * in, seed + 1)),
          b(module.out, rank, random(module.out * rank, seed + 2)) {
      if (weights == TwinWeights::kBf16) {
        on_host = FrozenWeight::of(DType::kBf16, module.out, in, dense.host().data);
        on_device = FrozenWeight::of(DType::kBf16, module.out, in, dense.device().data);
      } else if (weights == TwinWeights::kNf4) {
        on_host = FrozenWeight::of(nf4);
        on_device = FrozenWeight::of({nf4.layout, codes.get(), absmax.get(), absmax2.get(), nf4.offset});
      } else {
        on_host = FrozenWeight::of(flat);
        on_device = FrozenWeight::of({.layout = flat.layout, .codes = codes.get(), .scales = scales.get()});
      }
    }
    static std::vector<Bf16> random(std::int64_t count, std::uint32_t seed) {
      return normal_bf16(static_cast<std::size_t>(count), seed, 0.05f);
    }
    // The same codes with scales that nested scales could not represent.
    static Nf4Vectors flat_scales(const Nf4Vectors& nested) {
      Nf4Vectors flat({nested.layout.rows, nested.layout.cols, false});
      flat.codes = nested.codes;
      for (std::size_t i = 0; i < flat.scales.size(); ++i) {
        const auto block = static_cast<std::int64_t>(i);
        flat.scales[i] = nf4_block_scale(nested, block) * (1.0f + 0.01f * static_cast<float>(block % 7));
      }
      return flat;
    }

    TwinMatrix<Bf16> dense;
    Nf4Vectors nf4, flat;
    DeviceArray<std::uint8_t> codes, absmax;
    DeviceArray<float> absmax2, scales;
    TwinMatrix<Bf16> a, b;
    FrozenWeight on_host, on_device;
  };
  std::vector<std::unique_ptr<Part>> parts_;
  std::vector<LinearModule> host_modules_, device_modules_;
  LinearGroup host_, device_;
};

}  // namespace shori::testing
