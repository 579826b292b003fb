#include "kernels/linear/fused_weight.h"

#include <limits>

#include "kernels/common/device_tables.h"
#include "kernels/common/op_checks.h"
#include "kernels/linear/nf4_dequantize_launch.h"

namespace shori {

ConstTensorView fused_weight(const OpContext& context, const char* op, const LinearGroup& group) {
  const std::int64_t in = group.in(), lora_columns = group.lora_columns(), cols = group.fused_in();
  const std::string subject = std::string(op) + ": ";
  SHORI_CHECK(in % 8 == 0, subject + "a device takes weights whose columns are a multiple of 8");
  for (const LinearModule& module : group.modules) {
    const FrozenWeight& weight = module.weight;
    SHORI_CHECK(weight.dtype != DType::kF32, subject + "a device takes NF4 and bf16 weights only");
    const void* memory = weight.dtype == DType::kU8 ? weight.nf4.codes : weight.dense;
    SHORI_CHECK(reinterpret_cast<std::uintptr_t>(memory) % 16 == 0, subject + "a weight is not 16-byte aligned");
    SHORI_CHECK(weight.rows * cols / 8 <= std::numeric_limits<std::int32_t>::max(), subject + "a weight is too large");
  }
  const FrozenWeight& first = group.modules.front().weight;
  if (group.modules.size() == 1 && lora_columns == 0 && first.dtype == DType::kBf16) {
    return {first.dense, DType::kBf16, first.rows, in, in};
  }
  DecodedWeight* const kept = group.decoded;
  if (kept != nullptr && kept->is_filled) return kept->memory;
  Bf16* const scratch = kept != nullptr
                            ? kept->memory.row<Bf16>(0)
                            : context.workspace->take_array<Bf16>(static_cast<std::size_t>(group.out() * cols));
  Bf16* out = scratch;
  for (const LinearModule& module : group.modules) {
    const FrozenWeight& weight = module.weight;
    const bool nf4 = weight.dtype == DType::kU8, lora = module.has_lora();
    launch_nf4_dequantize({.codes = weight.nf4.codes,
                           .absmax = weight.nf4.absmax,
                           .absmax2 = weight.nf4.absmax2,
                           .map = nf4 ? device_map_signed() : nullptr,
                           .offset = weight.nf4.offset,
                           .scales = weight.nf4.scales,
                           .dense = nf4 ? nullptr : static_cast<const Bf16*>(weight.dense),
                           .b = lora ? static_cast<const Bf16*>(module.b_scaled) : nullptr,
                           .out = out,
                           .rows = weight.rows,
                           .cols = in,
                           .lora_columns = lora_columns,
                           .rank = group.rank,
                           .b_column = module.lora_index * group.rank},
                          static_cast<cudaStream_t>(context.stream));
    out += weight.rows * cols;
  }
  if (kept != nullptr) kept->is_filled = true;
  return {scratch, DType::kBf16, group.out(), cols, cols};
}

}  // namespace shori
