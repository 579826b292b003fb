// xA is computed before the group's product and written beside x, so that the product adds the LoRA part for free. The
// mask is drawn where x is read: on the CPU into a copy of a tile of rows, on a device into the registers of the product.
#include "shori/ops/lora_down.h"

#include <algorithm>
#include <array>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/lora_down_launch.h"
#include "kernels/lora/tile_lora.h"
#include "shori/ops/device_limits.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr const char* kOp = "lora_down";
constexpr std::int64_t kRows = 128;  // tokens of a task on the CPU

void lora_down_on_device(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                         TensorView fused_x) {
  const std::int64_t in = group.in();
  check_device_rows(kOp, "fused_x", fused_x);  // so `in` is a multiple of 8 as well
  if (group.lora_count() == 0) return;
  SHORI_CHECK(group.rank <= kMaxDeviceRank, "lora_down: the rank is too large for the kernel");
  const std::int64_t max_rows = std::min(fused_x.rows, kLoraDownTokens);
  LoraDownLaunch launch{.x = nullptr,
                        .sums = context.workspace->take_array<float>(
                            static_cast<std::size_t>(kLoraDownSplits * max_rows * group.lora_count() * group.rank)),
                        .x_stride = fused_x.stride,
                        .rows = 0,
                        .in = static_cast<int>(in),
                        .lora_columns = static_cast<int>(group.lora_columns()),
                        .rank = static_cast<int>(group.rank),
                        .modules = static_cast<int>(group.lora_count()),
                        .a = {},
                        .module_index = {},
                        .mask = DropoutMask(dropout)};
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    SHORI_CHECK(reinterpret_cast<std::uintptr_t>(module.a) % 16 == 0, "lora_down: a factor is not 16-byte aligned");
    launch.a[module.lora_index] = static_cast<const Bf16*>(module.a);
    launch.module_index[module.lora_index] = module.number();
  }
  for (std::int64_t row = 0; row < fused_x.rows; row += kLoraDownTokens) {
    launch.x = fused_x.row<Bf16>(row);
    launch.rows = std::min(fused_x.rows - row, kLoraDownTokens);
    launch.mask.first_token = dropout.first_token + static_cast<std::uint32_t>(row);
    launch_lora_down(launch, static_cast<cudaStream_t>(context.stream));
  }
}

using Factors = std::array<ConstMatrix, kMaxModulesOfGroup>;  // A of the modules with LoRA, fp32

Factors widened_factors(const OpContext& context, const LinearGroup& group, DType activation) {
  Factors factors;
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    factors[static_cast<std::size_t>(module.lora_index)] =
        widened(context, ConstTensorView{module.a, activation, group.rank, group.in(), group.in()});
  }
  return factors;
}

void lora_down_on_cpu(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                      TensorView fused_x) {
  const std::int64_t cols = group.in(), rank = group.rank, lora_columns = group.lora_columns();
  const Factors factors = widened_factors(context, group, fused_x.dtype);
  const WorkerScratch scratch(context, {kRows * cols, kRows * cols, kRows * rank + lora_columns});
  for_each_task(ceil_div(fused_x.rows, kRows), [&](std::int64_t task, std::int64_t worker) {
    const auto [x, dropped, xa] = scratch.of(worker);
    const std::int64_t first = task * kRows, count = std::min(kRows, fused_x.rows - first);
    for (std::int64_t i = 0; i < count; ++i) load_row(fused_x, first + i, 0, cols, x + i * cols);
    for (const LinearModule& module : group.modules) {
      if (!module.has_lora()) continue;
      const float* input = x;
      if (dropout.probability > 0) {
        std::copy_n(x, count * cols, dropped);
        for (std::int64_t i = 0; i < count; ++i) {
          drop_row(dropout, module.number(), first + i, 0, cols, dropped + i * cols);
        }
        input = dropped;
      }
      matmul(dense(input, count, cols), factors[static_cast<std::size_t>(module.lora_index)].transposed(), xa, rank);
      scale_row(dropout.scale(), xa, count * rank);
      for (std::int64_t i = 0; i < count; ++i) {
        store_row(xa + i * rank, fused_x, first + i, cols + module.lora_index * rank, rank);
      }
    }
    const std::int64_t used = group.lora_count() * rank;
    std::fill_n(xa, lora_columns - used, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) store_row(xa, fused_x, first + i, cols + used, lora_columns - used);
  });
}

}  // namespace

void lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView fused_x) {
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "fused_x", fused_x);
  check_matrix(kOp, "fused_x", fused_x, fused_x.dtype, fused_x.rows, group.fused_in());
  log_work(context, {.flop = product_flop(fused_x.rows, group.lora_count() * group.rank, group.in()),
                     .bytes = bytes_of(fused_x)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    lora_down_on_device(context, group, dropout, fused_x);
  } else if (fused_x.dtype == DType::kBf16 && use_tile_products()) {
    tile_lora_down(context, group, dropout, fused_x);
  } else {
    lora_down_on_cpu(context, group, dropout, fused_x);
  }
}

std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t modules, std::int64_t rank) {
  return device_bytes(kLoraDownSplits * std::min(tokens, kLoraDownTokens) * modules * rank *
                      static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace shori
