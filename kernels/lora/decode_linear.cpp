#include "shori/ops/decode_linear.h"

#include <algorithm>

#include "kernels/common/device_matmul.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/row_product.h"
#include "kernels/linear/few_tokens.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/lora_up_launch.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/nf4_matmul.h"

namespace shori {

namespace {

static_assert(kMaxDecodeTokens <= kMaxRowInputs && kMaxDecodeTokens <= kMaxNf4MatmulTokens);

// Dense weights, and rows that are not whole quantization blocks, take the product of training.
bool takes_nf4_matmul(const FrozenWeight& weight) {
  return weight.dtype == DType::kU8 && weight.cols % kNf4BlockSize == 0;
}

// x W^T of one module.
void base_product(const OpContext& context, const LinearModule& module, ConstTensorView x, TensorView y) {
  if (takes_nf4_matmul(module.weight)) return nf4_matmul(context, module.weight, x, y);
  const LinearModule base{.weight = module.weight};
  nf4_linear(context, {.modules = {&base, 1}}, x, y);
}

void decode_linear_on_device(const OpContext& context, const LinearGroup& group, TensorView fused_x, TensorView y) {
  const std::int64_t in = group.in();
  if (group.lora_count() > 0) lora_down(context, group, DropoutKey{}, fused_x);
  std::int64_t column = 0;
  for (const LinearModule& module : group.modules) {
    const TensorView output = y.slice_cols(column, module.weight.rows);
    base_product(context, module, fused_x.slice_cols(0, in), output);
    column += module.weight.rows;
    if (!module.has_lora()) continue;
    launch_lora_up({.xa = fused_x.row<Bf16>(0) + in + module.lora_index * group.rank,
                    .b = static_cast<const Bf16*>(module.b_scaled),
                    .y = output.row<Bf16>(0),
                    .xa_stride = fused_x.stride,
                    .y_stride = output.stride,
                    .tokens = static_cast<int>(fused_x.rows),
                    .out = static_cast<int>(module.weight.rows),
                    .rank = static_cast<int>(group.rank)},
                   static_cast<cudaStream_t>(context.stream));
  }
}

}  // namespace

void decode_linear(const OpContext& context, const LinearGroup& group, TensorView fused_x, TensorView y) {
  constexpr const char* kOp = "decode_linear";
  check_context(context, kOp);
  check_linear(kOp, group, fused_x, y);
  SHORI_CHECK(fused_x.rows <= kMaxDecodeTokens, "decode_linear: too many tokens");
  if (fused_x.rows == 0) return;
  if (on_device(context)) {
    check_device_rows(kOp, "fused_x", fused_x);
    check_device_rows(kOp, "y", y);
    return decode_linear_on_device(context, group, fused_x, y);
  }
  log_work(context, {.flop = product_flop(fused_x.rows, group.out(), group.fused_in())});
  const WorkspaceFrame frame(*context.workspace);
  if (group.lora_count() > 0) few_token_lora_down(context, group, fused_x);
  few_token_linear(context, group, fused_x, y);
}

std::size_t decode_linear_workspace_bytes(const LinearGroup& group) {
  std::size_t largest = lora_down_workspace_bytes(kMaxDecodeTokens, group.lora_count(), group.rank);
  for (const LinearModule& module : group.modules) {
    const FrozenWeight& weight = module.weight;
    largest = std::max(largest, takes_nf4_matmul(weight)
                                    ? nf4_matmul_workspace_bytes(kMaxDecodeTokens, weight.rows, weight.cols)
                                    : nf4_linear_workspace_bytes(weight.rows, weight.cols));
  }
  return largest;
}

}  // namespace shori
