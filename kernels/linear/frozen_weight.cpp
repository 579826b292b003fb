#include "kernels/linear/frozen_weight.h"

#include <algorithm>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/rows.h"
#include "shori/quant/nf4.h"

namespace shori {

namespace {

// Elements first .. first + count - 1 of the flattened weight. Quantization blocks run over the flattened weight, so a row
// may begin inside one.
void dequantize_run(const Nf4View& weight, std::int64_t first, std::int64_t count, float* out) {
  for (std::int64_t element = first; element < first + count;) {
    const std::int64_t block = element / kNf4BlockSize, start = block * kNf4BlockSize;
    const float scale = nf4_block_scale(weight, block);
    const std::int64_t end = std::min(first + count, start + kNf4BlockSize);
    if (element == start && end == start + kNf4BlockSize) {
      dequantize_block(weight.codes + start / 2, scale, out + (element - first));
      element = end;
      continue;
    }
    for (; element < end; ++element) {
      const unsigned byte = weight.codes[element / 2];
      out[element - first] = to_float(nf4_weight(element % 2 == 0 ? byte >> 4 : byte & 15u, scale));
    }
  }
}

}  // namespace

ConstMatrix weight_tile(const FrozenWeight& weight, std::int64_t row, std::int64_t rows, std::int64_t col,
                        std::int64_t cols, float* scratch) {
  if (weight.dtype == DType::kF32) {
    return {static_cast<const float*>(weight.dense) + row * weight.cols + col, rows, cols, weight.cols, 1};
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t first = (row + i) * weight.cols + col;
    if (weight.dtype == DType::kBf16) {
      widen_row(static_cast<const Bf16*>(weight.dense) + first, scratch + i * cols, cols);
    } else {
      dequantize_run(weight.nf4, first, cols, scratch + i * cols);
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

}  // namespace shori
