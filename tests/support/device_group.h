// A group of linears with adapters, the same bytes in host and in device memory.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "shori/ops/linear_group.h"
#include "tests/support/device_test.h"
#include "tests/support/nf4_vectors.h"

namespace shori::testing {

struct TwinModule {
  int index = 0;
  std::int64_t out = 0;
  bool lora = true;
};

class TwinGroup {
 public:
  // `dtype`: of the weights, kU8 (NF4, with nested or flat scales) or kBf16.
  TwinGroup(std::int64_t in, std::int64_t rank, const std::vector<TwinModule>& modules, DType dtype, std::uint32_t seed,
            bool nested = true) {
    int slot = 0;
    for (const TwinModule& module : modules) {
      parts_.push_back(std::make_unique<Part>(in, rank, module, dtype, seed, nested));
      seed += 10;
      LinearModule linear{.weight = parts_.back()->on_host, .linear = static_cast<Linear>(module.index)};
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
    Part(std::int64_t in, std::int64_t rank, const TwinModule& module, DType dtype, std::uint32_t seed, bool nested)
        : dense(module.out, in, weights(module.out * in, seed)),
          nf4(*quantize_nf4(to_floats(dense.host_values()), module.out, in)),
          flat(flat_of(nf4)),
          codes(nf4.codes),
          absmax(nf4.absmax),
          absmax2(nf4.absmax2),
          scales(flat.scales),
          a(rank, in, weights(rank * in, seed + 1)),
          b(module.out, rank, weights(module.out * rank, seed + 2)) {
      if (dtype != DType::kU8) {
        on_host = FrozenWeight::of(dtype, module.out, in, dense.host().data);
        on_device = FrozenWeight::of(dtype, module.out, in, dense.device().data);
      } else if (nested) {
        on_host = FrozenWeight::of(nf4);
        on_device = FrozenWeight::of({nf4.layout, codes.get(), absmax.get(), absmax2.get(), nf4.offset});
      } else {
        on_host = FrozenWeight::of(flat);
        on_device = FrozenWeight::of({.layout = flat.layout, .codes = codes.get(), .scales = scales.get()});
      }
    }
    static std::vector<Bf16> weights(std::int64_t count, std::uint32_t seed) {
      return normal_bf16(static_cast<std::size_t>(count), seed, 0.05f);
    }
    // The same codes with a scale for each block that nested scales could not have.
    static Nf4Vectors flat_of(const Nf4Vectors& nested) {
      Nf4Vectors flat({nested.layout.rows, nested.layout.cols, false});
      flat.codes = nested.codes;
      for (std::size_t i = 0; i < flat.scales.size(); ++i) {
        const auto block = static_cast<std::int64_t>(i);
        flat.scales[i] = nf4_block_scale(nested, block) * (1.0f + 0.01f * static_cast<float>(block % 7));
      }
      return flat;
    }
    static std::vector<float> to_floats(const std::vector<Bf16>& values) { return floats(values); }

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
