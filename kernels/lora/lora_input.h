// The gradient of a group's input, as the CPU versions of its consumers read it: base part plus LoRA part, fp32.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "shori/ops/linear_group.h"

namespace shori {

// Checks that `kept` holds the masks of `rows` tokens as a device stores them.
void check_kept_masks(const char* op, const LinearGroup& group, std::int64_t rows, ConstTensorView kept);

// Rows of dx + scale * sum over the modules with LoRA, in order, of mask (.) (dxA . A).
class InputGradient {
 public:
  // Rows that a caller may ask for at once.
  static constexpr std::int64_t kRows = 64;

  // fused_dx is [T, fused_in() of the group] with `lora`, [T, >= cols] without. The constructor takes scratch from the
  // workspace, and the caller's frame releases it.
  InputGradient(const OpContext& context, const char* op, ConstTensorView fused_dx, std::int64_t cols,
                const std::optional<LoraInputGradient>& lora);

  // Writes rows first .. first + count - 1, count <= kRows, to out [count, cols]. `worker` as in for_each_task.
  void load(std::int64_t first, std::int64_t count, std::int64_t worker, float* out) const;

 private:
  struct Module {
    int number;            // part of the dropout key
    ConstMatrix a;         // [rank, cols] as fp32, or
    const Bf16* packed_a;  // as the right operand of a tile product
  };
  void add_lora(const Module& module, std::int64_t lora_index, std::int64_t first, std::int64_t count,
                std::int64_t worker, float* out) const;

  ConstTensorView dx_;
  std::int64_t cols_;
  std::optional<LoraInputGradient> lora_;
  std::array<Module, kMaxModulesOfGroup> modules_{};  // those with LoRA, in order
  std::int64_t module_count_ = 0;
  bool tiles_ = false;
  std::optional<WorkerScratch<2>> scratch_;  // product [kRows, cols] and dxA [kRows, rank], as fp32 or packed
};

}  // namespace shori
