#include "kernels/linear/frozen_weight.h"

#include "kernels/common/op_checks.h"
#include "kernels/cpu/nf4_decode.h"
#include "kernels/cpu/rows.h"

namespace shori {

ConstMatrix weight_tile(const FrozenWeight& weight, std::int64_t row, std::int64_t rows, std::int64_t col,
                        std::int64_t cols, float* scratch) {
  if (weight.dtype == DType::kF32) {
    return {static_cast<const float*>(weight.dense) + row * weight.cols + col, rows, cols, weight.cols, 1};
  }
  const CpuIsa isa = cpu_isa();
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t first = (row + i) * weight.cols + col;
    if (weight.dtype == DType::kBf16) {
      widen_row(static_cast<const Bf16*>(weight.dense) + first, scratch + i * cols, cols);
    } else {
      decode_nf4(isa, weight.nf4, first, cols, scratch + i * cols);
    }
  }
  return dense(scratch, rows, cols);
}

void check_weight(const char* op, const FrozenWeight& weight) {
  const std::string subject = std::string(op) + ": a frozen weight";
  SHORI_CHECK(weight.rows > 0 && weight.cols > 0, subject + " is empty");
  if (weight.dtype == DType::kU8) {
    const Nf4View& nf4 = weight.nf4;
    SHORI_CHECK(nf4.codes != nullptr &&
                    (nf4.layout.nested ? nf4.absmax != nullptr && nf4.absmax2 != nullptr : nf4.scales != nullptr),
                subject + " lacks codes or scales");
  } else {
    SHORI_CHECK(weight.dtype == DType::kBf16 || weight.dtype == DType::kF32, subject + " must be NF4, bf16 or fp32");
    SHORI_CHECK(weight.dense != nullptr, subject + " has no memory");
  }
}

void check_group(const char* op, const LinearGroup& group) {
  const std::string subject = std::string(op) + ": ";
  SHORI_CHECK(!group.modules.empty() && group.modules.size() <= kMaxModulesOfGroup,
              subject + "a group has 1 to 3 modules");
  int lora_count = 0;
  for (const LinearModule& module : group.modules) {
    check_weight(op, module.weight);
    SHORI_CHECK(module.weight.cols == group.in(), subject + "modules of one group share their input");
    if (!module.has_lora()) continue;
    SHORI_CHECK(module.lora_index == lora_count++, subject + "lora_index counts the modules with LoRA in order");
    SHORI_CHECK(module.a != nullptr && module.b_scaled != nullptr, subject + "a module with LoRA lacks its factors");
  }
  SHORI_CHECK(lora_count == 0 || group.rank > 0, subject + "a group with LoRA needs a rank");
}

void check_linear(const char* op, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView y) {
  check_group(op, group);
  check_activation(op, "fused_x", fused_x);
  check_matrix(op, "fused_x", fused_x, fused_x.dtype, fused_x.rows, group.fused_in());
  check_matrix(op, "y", y, fused_x.dtype, fused_x.rows, group.out());
}

}  // namespace shori
