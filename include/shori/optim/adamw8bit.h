// AdamW with 8-bit blockwise moments over all factors of an adapter: the state and its memory; the arithmetic is in
// ops/adamw8bit.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/model/lora_adapter.h"
#include "shori/ops/adamw8bit.h"
#include "shori/ops/op_context.h"

namespace shori {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  std::int64_t block_size = 256;  // 2048 under compat: axolotl-2024
  bool zero_gradient_guard = true;
};

class AdamW8bit {
 public:
  // Fresh moments (all zero bytes), t = 0. Updates the factors of `adapter`, which outlives it. `memory`: of the device
  // that the factors are on; null: the host's.
  AdamW8bit(LoraAdapter& adapter, const AdamOptions& options, DeviceMemory* memory = nullptr);

  // Updates every factor with gradients * gradient_scale, and the copies. t += 1.
  AdamReport step(const OpContext& context, double learning_rate, double gradient_scale);

  // The state in host memory, for checkpoints: all F32 first, each kind in the order of the factors. The caller saves t
  // beside them. On a device they are mirrors that hold the last download() or what the host wrote since.
  //   U8   "adam.m.<factor>", "adam.v.<factor>": codes, in the factor's shape
  //   F32  "adam.m_absmax.<factor>", "adam.v_absmax.<factor>": [blocks]
  //   F32  "adam.m32.<factor>", "adam.v32.<factor>": moments of factors below kMin8BitElements, in the factor's shape
  std::vector<NamedArray> arrays();
  void download(const OpContext& context) const;
  void upload(const OpContext& context) const;
  std::uint64_t step_count() const { return step_; }
  void set_step_count(std::uint64_t step) { step_ = step; }

  const AdamOptions& options() const { return options_; }

 private:
  struct Moments {
    MirroredTensor m_codes, v_codes;    // u8
    MirroredTensor m_absmax, v_absmax;  // fp32
    MirroredTensor m, v;                // fp32: factors below kMin8BitElements
    std::array<const MirroredTensor*, 6> all() const { return {&m_codes, &v_codes, &m_absmax, &v_absmax, &m, &v}; }
  };

  LoraAdapter& adapter_;
  AdamOptions options_;
  std::uint64_t step_ = 0;
  std::vector<Moments> moments_;
};

}  // namespace shori
