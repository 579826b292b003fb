#include "shori/ops/nf4_matmul.h"

#include "kernels/common/device_tables.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/row_product.h"
#include "kernels/linear/few_tokens.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/linear/nf4_matmul_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/nf4_linear.h"
#include "shori/quant/nf4_levels.h"

namespace shori {

void nf4_matmul(const OpContext& context, const FrozenWeight& weight, ConstTensorView x, TensorView y) {
  constexpr const char* kOp = "nf4_matmul";
  check_context(context, kOp);
  check_weight(kOp, weight);
  SHORI_CHECK(weight.dtype == DType::kU8, "nf4_matmul: the weight must be NF4");
  SHORI_CHECK(x.rows <= kMaxNf4MatmulTokens, "nf4_matmul: too many tokens");
  check_activation(kOp, "x", x);
  check_matrix(kOp, "x", x, x.dtype, x.rows, weight.cols);
  check_matrix(kOp, "y", y, x.dtype, x.rows, weight.rows);
  log_work(context, {.flop = product_flop(x.rows, weight.rows, weight.cols)});
  if (!on_device(context)) {
    const LinearModule module{.weight = weight};
    const LinearGroup group{{&module, 1}, 0, 0.0f};
    if (x.rows > kMaxRowInputs) return nf4_linear(context, group, x, y);
    const WorkspaceFrame frame(*context.workspace);
    return few_token_linear(context, group, x, y);
  }
  check_device_rows(kOp, "x", x);
  check_device_rows(kOp, "y", y);
  SHORI_CHECK(weight.cols % kNf4BlockSize == 0 && reinterpret_cast<std::uintptr_t>(weight.nf4.codes) % 16 == 0,
              "nf4_matmul: the kernel takes rows of whole quantization blocks, 16-byte aligned");
  const WorkspaceFrame frame(*context.workspace);
  const int splits = nf4_matmul_splits(weight.rows, weight.cols);
  float* partials = splits == 1
                        ? nullptr
                        : context.workspace->take_array<float>(static_cast<std::size_t>(splits * x.rows * weight.rows));
  launch_nf4_matmul({.x = x.row<Bf16>(0),
                     .codes = weight.nf4.codes,
                     .absmax = weight.nf4.absmax,
                     .absmax2 = weight.nf4.absmax2,
                     .map = device_map_signed(),
                     .offset = weight.nf4.offset,
                     .scales = weight.nf4.scales,
                     .y = y.row<Bf16>(0),
                     .partials = partials,
                     .x_stride = x.stride,
                     .y_stride = y.stride,
                     .tokens = static_cast<int>(x.rows),
                     .out = static_cast<int>(weight.rows),
                     .in = static_cast<int>(weight.cols),
                     .splits = splits},
                    static_cast<cudaStream_t>(context.stream));
}

std::size_t nf4_matmul_workspace_bytes(std::int64_t tokens, std::int64_t out, std::int64_t in) {
  const int splits = nf4_matmul_splits(out, in);
  return splits == 1 ? 0 : device_bytes(splits * tokens * out * static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace shori
