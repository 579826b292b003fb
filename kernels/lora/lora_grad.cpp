// The gradient of a factor is a product over tokens. Its sum is cut at fixed slabs of tokens, so that the bits depend
// neither on how a caller cuts the tokens into calls nor on tiles and threads. On the CPU a task owns some columns of one
// gradient and walks all slabs; on a device all slabs run at once and a second kernel adds them in order.
#include "shori/ops/lora_grad.h"

#include <algorithm>
#include <array>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/gradient_columns.h"
#include "kernels/lora/lora_factor_launch.h"
#include "kernels/lora/lora_grad_launch.h"
#include "kernels/lora/lora_input.h"
#include "kernels/lora/tile_lora.h"
#include "shori/ops/device_limits.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Launches all gradients of `whole`, in passes of as many tokens as the workspace has sums for.
void gradients_on_device(const OpContext& context, const LinearGroup& group, const LoraGradLaunch& whole) {
  if (whole.count == 0) return;
  SHORI_CHECK(group.rank <= kMaxDeviceRank, "lora_grad: the rank is too large for the kernel");
  std::int64_t columns = 0;
  for (int i = 0; i < whole.count; ++i) columns += whole.gradients[i].columns;
  const std::int64_t slabs = std::min(ceil_div(whole.tokens, kGradientSlab), kGradientSlabsOfPass);
  LoraGradLaunch pass = whole;
  float* sums = context.workspace->take_array<float>(static_cast<std::size_t>(slabs * columns * group.rank));
  for (int i = 0; i < pass.count; ++i) {
    pass.gradients[i].sums = sums;
    sums += slabs * pass.gradients[i].columns * group.rank;
  }
  for (std::int64_t token = 0; token < whole.tokens; token += kGradientSlab * kGradientSlabsOfPass) {
    pass.wide = whole.wide + token * whole.wide_stride;
    pass.narrow = whole.narrow + token * whole.narrow_stride;
    pass.tokens = std::min(whole.tokens - token, kGradientSlab * kGradientSlabsOfPass);
    pass.mask.first_token = whole.mask.first_token + static_cast<std::uint32_t>(token);
    if (whole.kept != nullptr) pass.kept = whole.kept + token * whole.count * (whole.gradients[0].columns / 8);
    launch_lora_grad(pass, static_cast<cudaStream_t>(context.stream));
  }
}

void lora_grad_a_on_device(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                           ConstTensorView fused_x, ConstTensorView fused_dx, const std::optional<TensorView>& kept) {
  const std::int64_t in = group.in(), rank = group.rank;
  if (kept) check_kept_masks("lora_grad_a", group, fused_x.rows, *kept);
  check_device_rows("lora_grad_a", "fused_x", fused_x);
  check_device_rows("lora_grad_a", "fused_dx", fused_dx);  // so `in` is a multiple of 8 as well
  LoraGradLaunch launch{.wide = fused_x.row<Bf16>(0),
                        .narrow = fused_dx.row<Bf16>(0) + in,
                        .wide_stride = fused_x.stride,
                        .narrow_stride = fused_dx.stride,
                        .tokens = fused_x.rows,
                        .column_stride = 1,
                        .rank_stride = in,
                        .rank = static_cast<int>(rank),
                        .count = static_cast<int>(group.lora_count()),
                        .shared_columns = true,
                        .scale = dropout.scale(),
                        .mask = DropoutMask(dropout),
                        .kept = kept ? kept->row<std::uint8_t>(0) : nullptr,
                        .gradients = {}};
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    launch.gradients[module.lora_index] = {.gradient = module.da,
                                           .sums = nullptr,
                                           .first_column = 0,
                                           .columns = in,
                                           .narrow_column = static_cast<int>(module.lora_index * rank),
                                           .module_index = module.number()};
  }
  gradients_on_device(context, group, launch);
}

void lora_grad_b_on_device(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x,
                           ConstTensorView dy) {
  const std::int64_t in = group.in(), rank = group.rank;
  check_device_rows("lora_grad_b", "fused_x", fused_x);  // so `in` is a multiple of 8 as well
  check_device_rows("lora_grad_b", "dy", dy);
  LoraGradLaunch launch{.wide = dy.row<Bf16>(0),
                        .narrow = fused_x.row<Bf16>(0) + in,
                        .wide_stride = dy.stride,
                        .narrow_stride = fused_x.stride,
                        .tokens = fused_x.rows,
                        .column_stride = rank,
                        .rank_stride = 1,
                        .rank = static_cast<int>(rank),
                        .count = static_cast<int>(group.lora_count()),
                        .shared_columns = false,
                        .scale = group.scaling,
                        .mask = {},
                        .kept = nullptr,
                        .gradients = {}};
  std::int64_t column = 0;
  for (const LinearModule& module : group.modules) {
    const std::int64_t rows = module.weight.rows;
    SHORI_CHECK(rows % 8 == 0, "lora_grad_b: a device takes outputs whose columns are a multiple of 8");
    if (module.has_lora()) {
      launch.gradients[module.lora_index] = {.gradient = module.db,
                                             .sums = nullptr,
                                             .first_column = column,
                                             .columns = rows,
                                             .narrow_column = static_cast<int>(module.lora_index * rank),
                                             .module_index = module.number()};
    }
    column += rows;
  }
  gradients_on_device(context, group, launch);
}

void lora_grad_a_on_cpu(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                        ConstTensorView fused_x, ConstTensorView fused_dx) {
  const std::int64_t tokens = fused_x.rows, in = group.in(), rank = group.rank;
  const ConstMatrix dxa = widened(context, fused_dx.slice_cols(in, group.lora_columns()));
  const std::vector<GradientTile> tiles = gradient_tiles(group, [&](const LinearModule&) { return in; });
  const WorkerScratch scratch(context, {kGradientSlab * kGradientColumns, rank * kGradientColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    const auto [input, product] = scratch.of(worker);
    for (std::int64_t row = 0; row < tokens; row += kGradientSlab) {
      const std::int64_t rows = std::min(kGradientSlab, tokens - row);
      for (std::int64_t i = 0; i < rows; ++i) {
        load_row(fused_x, row + i, first, width, input + i * width);
        if (dropout.probability > 0) drop_row(dropout, module->number(), row + i, first, width, input + i * width);
      }
      matmul(dxa.slice(row, rows, module->lora_index * rank, rank).transposed(), dense(input, rows, width), product,
             width);
      for (std::int64_t i = 0; i < rank; ++i) {
        add_scaled_row(dropout.scale(), product + i * width, module->da + i * in + first, width);
      }
    }
  });
}

void lora_grad_b_on_cpu(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x,
                        ConstTensorView dy) {
  const std::int64_t tokens = fused_x.rows, rank = group.rank;
  const ConstMatrix xa = widened(context, fused_x.slice_cols(group.in(), group.lora_columns()));
  const std::vector<GradientTile> tiles =
      gradient_tiles(group, [](const LinearModule& module) { return module.weight.rows; });
  std::array<std::int64_t, kMaxModulesOfGroup> first_column{};  // of each module's output in dy
  for (std::size_t i = 1; i < group.modules.size(); ++i) {
    first_column[i] = first_column[i - 1] + group.modules[i - 1].weight.rows;
  }
  const WorkerScratch scratch(context, {kGradientSlab * kGradientColumns, rank * kGradientColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    const std::int64_t column = first_column[static_cast<std::size_t>(module - group.modules.data())] + first;
    const auto [gradient, product] = scratch.of(worker);
    for (std::int64_t row = 0; row < tokens; row += kGradientSlab) {
      const std::int64_t rows = std::min(kGradientSlab, tokens - row);
      for (std::int64_t i = 0; i < rows; ++i) load_row(dy, row + i, column, width, gradient + i * width);
      matmul(dense(gradient, rows, width).transposed(), xa.slice(row, rows, module->lora_index * rank, rank), product,
             rank);
      add_scaled_row(group.scaling, product, module->db + first * rank, width * rank);
    }
  });
}

OpWork work_of_grad_b(const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy) {
  OpWork work{.bytes = bytes_of(fused_x.slice_cols(group.in(), group.lora_columns()))};
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    work.flop += product_flop(dy.rows, module.weight.rows, group.rank);
    work.bytes += bytes_of(dy.slice_cols(0, module.weight.rows));
  }
  return work;
}

}  // namespace

void lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, ConstTensorView fused_x,
                 ConstTensorView fused_dx, std::optional<TensorView> kept) {
  constexpr const char* kOp = "lora_grad_a";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "fused_x", fused_x);
  check_matrix(kOp, "fused_x", fused_x, fused_x.dtype, fused_x.rows, group.fused_in());
  check_matrix(kOp, "fused_dx", fused_dx, fused_x.dtype, fused_x.rows, group.fused_in());
  for (const LinearModule& module : group.modules) {
    SHORI_CHECK(!module.has_lora() || module.da != nullptr, "lora_grad_a: a module with LoRA lacks its gradient");
  }
  log_work(context, {.flop = product_flop(fused_x.rows, group.lora_count() * group.rank, group.in()),
                     .bytes = bytes_of(fused_x)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    lora_grad_a_on_device(context, group, dropout, fused_x, fused_dx, kept);
  } else if (fused_x.dtype == DType::kBf16 && use_tile_products()) {
    tile_lora_grad_a(context, group, dropout, fused_x, fused_dx);
  } else {
    lora_grad_a_on_cpu(context, group, dropout, fused_x, fused_dx);
  }
}

void lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy) {
  constexpr const char* kOp = "lora_grad_b";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "fused_x", fused_x);
  check_matrix(kOp, "fused_x", fused_x, fused_x.dtype, fused_x.rows, group.fused_in());
  check_matrix(kOp, "dy", dy, fused_x.dtype, fused_x.rows, group.out());
  for (const LinearModule& module : group.modules) {
    SHORI_CHECK(!module.has_lora() || module.db != nullptr, "lora_grad_b: a module with LoRA lacks its gradient");
  }
  log_work(context, work_of_grad_b(group, fused_x, dy));
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    lora_grad_b_on_device(context, group, fused_x, dy);
  } else if (fused_x.dtype == DType::kBf16 && use_tile_products()) {
    tile_lora_grad_b(context, group, fused_x, dy);
  } else {
    lora_grad_b_on_cpu(context, group, fused_x, dy);
  }
}

void round_lora_factor(const OpContext& context, ConstTensorView master, float scale, TensorView out) {
  check_context(context, "round_lora_factor");
  check_matrix("round_lora_factor", "master", master, DType::kF32, master.rows, master.cols);
  check_activation("round_lora_factor", "out", out);
  check_matrix("round_lora_factor", "out", out, out.dtype, master.rows, master.cols);
  log_work(context, {.bytes = bytes_of(master) + bytes_of(out)});
  if (on_device(context)) {
    SHORI_CHECK(out.dtype == DType::kBf16 && master.stride == master.cols && out.stride == out.cols,
                "round_lora_factor: on a device the copy is bf16 and rows are contiguous");
    launch_round_lora_factor(master.row<float>(0), scale, out.row<Bf16>(0), master.rows * master.cols,
                             static_cast<cudaStream_t>(context.stream));
    return;
  }
  const WorkspaceFrame frame(*context.workspace);
  const WorkerScratch scratch(context, {master.cols});
  for_each_row_range(master.rows, master.cols, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    const auto [row] = scratch.of(worker);
    for (std::int64_t i = first; i < last; ++i) {
      load_row(master, i, 0, master.cols, row);
      scale_row(scale, row, master.cols);
      store_row(row, out, i, 0, master.cols);
    }
  });
}

std::size_t lora_grad_workspace_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t rank) {
  const std::int64_t slabs = std::min(ceil_div(tokens, kGradientSlab), kGradientSlabsOfPass);
  return device_bytes(slabs * columns * rank * static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace shori
