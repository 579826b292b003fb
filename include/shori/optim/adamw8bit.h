// AdamW with 8-bit blockwise moments over all factors of an adapter: the state and its memory; the arithmetic is in
// ops/adamw8bit.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

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

// One array of the state, for checkpoints: host memory, read when writing and filled when loading.
struct OptimizerSpan {
  std::string
      name;  // "adam.m.<factor>", "adam.v." (codes), "adam.m_absmax.", "adam.v_absmax.", "adam.m32.", "adam.v32."
  bool is_f32 = false;  // F32, else U8
  std::vector<std::int64_t> shape;
  void* data = nullptr;
  std::size_t bytes = 0;
};

class AdamW8bit {
 public:
  // Fresh moments (all zero bytes), t = 0. The adapter's factors are what it updates; they outlive it. `memory`: of
  // the device they are on; null: the host's.
  AdamW8bit(LoraAdapter& adapter, const AdamOptions& options, DeviceMemory* memory = nullptr);

  // One update of every factor with gradients * gradient_scale, and of their copies. t += 1.
  AdamReport step(const OpContext& context, double learning_rate, double gradient_scale);

  // Memory of the state, all F32 first, each kind in the order of the factors. t is the caller's to save beside them.
  // On a device they are mirrors: as the last download() or the caller left them.
  std::vector<OptimizerSpan> spans();
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
