// The gradient of a group's input, as its consumers read it: base part plus the LoRA parts, fp32.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "shori/ops/linear_group.h"

namespace shori {

// Rows of d(input) = dx + scale * sum over slots of mask (.) (dxA . A), in the order of the slots.
class InputGradient {
 public:
  // Rows a caller may ask for at once.
  static constexpr std::int64_t kRows = 64;

  // `fused_dx` [T, cols + extension] with `lora`, [T, >= cols] without. Takes its scratch from the workspace: the
  // caller's frame frees it.
  InputGradient(const OpContext& context, const char* op, ConstTensorView fused_dx, std::int64_t cols,
                const std::optional<LoraInputGradient>& lora);

  // Rows first .. first + count - 1, count <= kRows, to out [count, cols]. `worker` as in for_each_task.
  void load(std::int64_t first, std::int64_t count, std::int64_t worker, float* out) const;

 private:
  struct Slot {
    int module;
    ConstMatrix a;  // [rank, cols]
  };
  void add_slot(const Slot& slot, std::int64_t index, std::int64_t first, std::int64_t count, std::int64_t worker,
                float* out) const;

  ConstTensorView dx_;
  std::int64_t cols_;
  std::optional<LoraInputGradient> lora_;
  std::array<Slot, kMaxModulesOfGroup> slots_{};
  std::int64_t slot_count_ = 0;
  std::optional<WorkerScratch<2>> scratch_;  // product [kRows, cols] and dxA [kRows, rank]
};

}  // namespace shori
