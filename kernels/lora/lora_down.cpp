#include "shori/ops/lora_down.h"

#include <algorithm>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/lora_down_launch.h"
#include "shori/ops/device_limits.h"

namespace shori {

namespace {

constexpr std::int64_t kRows = 128;

void lora_down_on_device(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                         TensorView x_extended) {
  const std::int64_t in = group.in();
  check_device_rows("lora_down", "x_extended", x_extended);
  SHORI_CHECK(in % 8 == 0, "lora_down: a device takes inputs whose columns are a multiple of 8");
  if (group.slots() == 0) return;
  SHORI_CHECK(group.rank <= kMaxDeviceRank, "lora_down: the rank is too large for the kernel");
  const std::int64_t most_rows = std::min(x_extended.rows, kLoraDownTokens);
  LoraDownLaunch launch{.x = nullptr,
                        .sums = context.workspace->take_array<float>(
                            static_cast<std::size_t>(kLoraDownParts * most_rows * group.slots() * group.rank)),
                        .x_stride = x_extended.stride,
                        .rows = 0,
                        .in = static_cast<int>(in),
                        .tail = static_cast<int>(group.extension_columns()),
                        .rank = static_cast<int>(group.rank),
                        .slots = static_cast<int>(group.slots()),
                        .a = {},
                        .module_index = {},
                        .mask = DropoutMask(dropout)};
  for (const LinearModule& module : group.modules) {
    if (module.slot < 0) continue;
    SHORI_CHECK(reinterpret_cast<std::uintptr_t>(module.a) % 16 == 0, "lora_down: a factor is not 16-byte aligned");
    launch.a[module.slot] = static_cast<const Bf16*>(module.a);
    launch.module_index[module.slot] = module.number();
  }
  for (std::int64_t row = 0; row < x_extended.rows; row += kLoraDownTokens) {
    launch.x = x_extended.row<Bf16>(row);
    launch.rows = std::min(x_extended.rows - row, kLoraDownTokens);
    launch.mask.first_token = dropout.first_token + static_cast<std::uint32_t>(row);
    launch_lora_down(launch, static_cast<cudaStream_t>(context.stream));
  }
}

}  // namespace

void lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView x_extended) {
  check_context(context, "lora_down");
  check_group("lora_down", group);
  check_activation("lora_down", "x_extended", x_extended);
  const std::int64_t cols = group.in(), rank = group.rank, tail = group.extension_columns();
  check_matrix("lora_down", "x_extended", x_extended, x_extended.dtype, x_extended.rows, cols + tail);
  log_work(context, {.flop = product_flop(x_extended.rows, group.slots() * rank, cols), .bytes = bytes_of(x_extended)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    lora_down_on_device(context, group, dropout, x_extended);
    return;
  }
  std::array<ConstMatrix, kMaxModulesOfGroup> factors;
  for (const LinearModule& module : group.modules) {
    if (module.slot < 0) continue;
    factors[static_cast<std::size_t>(module.slot)] =
        widened(context, ConstTensorView{module.a, x_extended.dtype, rank, cols, cols});
  }
  const WorkerScratch scratch(context, {kRows * cols, kRows * cols, kRows * rank + tail});
  for_each_task(tiles_of(x_extended.rows, kRows), [&](std::int64_t task, std::int64_t worker) {
    const auto [x, dropped, xa] = scratch.of(worker);
    const std::int64_t first = task * kRows, count = std::min(kRows, x_extended.rows - first);
    for (std::int64_t i = 0; i < count; ++i) load_row(x_extended, first + i, 0, cols, x + i * cols);
    for (const LinearModule& module : group.modules) {
      if (module.slot < 0) continue;
      const float* input = x;
      if (dropout.probability > 0) {
        std::copy_n(x, count * cols, dropped);
        for (std::int64_t i = 0; i < count; ++i)
          drop_row(dropout, module.number(), first + i, 0, cols, dropped + i * cols);
        input = dropped;
      }
      matmul(dense(input, count, cols), factors[static_cast<std::size_t>(module.slot)].transposed(), xa, rank);
      scale_row(dropout.scale(), xa, count * rank);
      for (std::int64_t i = 0; i < count; ++i)
        store_row(xa + i * rank, x_extended, first + i, cols + module.slot * rank, rank);
    }
    const std::int64_t used = group.slots() * rank;
    std::fill_n(xa, tail - used, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) store_row(xa, x_extended, first + i, cols + used, tail - used);
  });
}

std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t slots, std::int64_t rank) {
  return device_bytes(kLoraDownParts * std::min(tokens, kLoraDownTokens) * slots * rank *
                      static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace shori
