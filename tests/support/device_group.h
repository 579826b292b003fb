// A group of linears with adapters, the same bytes in host and in device memory.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "shori/ops/linear_group.h"
#include "shori/quant/nf4.h"
#include "tests/support/device_test.h"

namespace shori::testing {

struct TwinModule {
  int index = 0;
  std::int64_t out = 0;
  bool lora = true;
};

class TwinGroup {
 public:
  // `dtype`: of the weights, kU8 (NF4, with nested or plain scales) or kBf16.
  TwinGroup(std::int64_t in, std::int64_t rank, const std::vector<TwinModule>& modules, DType dtype, std::uint32_t seed,
            bool plain_scales = false) {
    int slot = 0;
    for (const TwinModule& module : modules) {
      parts_.push_back(std::make_unique<Part>(in, rank, module, dtype, seed, plain_scales));
      seed += 10;
      LinearModule linear{.weight = parts_.back()->on_host, .index = module.index};
      if (module.lora) {
        linear.lora_index = slot++;
        linear.a = parts_.back()->a.host_values().data();
        linear.b_scaled = parts_.back()->b.host_values().data();
      }
      host_modules_.push_back(linear);
      linear.weight = parts_.back()->on_device;
      if (module.lora) {
        linear.a = parts_.back()->a.device().data;
        linear.b_scaled = parts_.back()->b.device().data;
      }
      device_modules_.push_back(linear);
    }
    host_ = {host_modules_, rank, 0.8f};
    device_ = {device_modules_, rank, 0.8f};
  }
  TwinGroup(const TwinGroup&) = delete;
  TwinGroup& operator=(const TwinGroup&) = delete;

  const LinearGroup& host() const { return host_; }
  const LinearGroup& device() const { return device_; }

 private:
  struct Part {
    Part(std::int64_t in, std::int64_t rank, const TwinModule& module, DType dtype, std::uint32_t seed,
         bool plain_scales)
        : dense(module.out, in, weights(module.out * in, seed)),
          nf4(*quantize_nf4(to_floats(dense.host_values()), module.out, in)),
          codes(nf4.codes),
          absmax(nf4.absmax),
          absmax2(nf4.absmax2),
          host_scales(scales_of(nf4)),
          scales(host_scales),
          a(rank, in, weights(rank * in, seed + 1)),
          b(module.out, rank, weights(module.out * rank, seed + 2)) {
      on_host = {dtype, module.out, in};
      on_device = on_host;
      if (dtype == DType::kU8 && plain_scales) {
        on_host.codes = nf4.codes.data();
        on_host.scales = host_scales.data();
        on_device.codes = codes.get();
        on_device.scales = scales.get();
      } else if (dtype == DType::kU8) {
        on_host = {dtype, module.out, in, nullptr, nf4.codes.data(), nf4.absmax.data(), nf4.absmax2.data(), nf4.offset};
        on_device = {dtype, module.out, in, nullptr, codes.get(), absmax.get(), absmax2.get(), nf4.offset};
      } else {
        on_host.dense = dense.host().data;
        on_device.dense = dense.device().data;
      }
    }
    static std::vector<Bf16> weights(std::int64_t count, std::uint32_t seed) {
      return normal_bf16(static_cast<std::size_t>(count), seed, 0.05f);
    }
    // Of each block, by no rule that nested scales could follow.
    static std::vector<float> scales_of(const Nf4Tensor& tensor) {
      std::vector<float> result;
      for (std::int64_t block = 0; block * kNf4BlockSize < tensor.count(); ++block)
        result.push_back(nf4_block_scale(tensor, block) * (1.0f + 0.01f * static_cast<float>(block % 7)));
      return result;
    }
    static std::vector<float> to_floats(const std::vector<Bf16>& values) { return floats(values); }

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
