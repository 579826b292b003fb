#include "shori/ops/lora_grad.h"

#include <algorithm>
#include <array>

#include "kernels/cpu_matmul.h"
#include "kernels/cpu_parallel.h"
#include "kernels/cpu_rows.h"
#include "kernels/frozen_weight.h"
#include "kernels/lora_factor_launch.h"
#include "kernels/op_checks.h"

namespace shori {

namespace {

constexpr std::int64_t kSlab = 1024;   // tokens whose fp32 sum is one product
constexpr std::int64_t kColumns = 64;  // of the wide side of a factor; a multiple of 8, the columns of one mask draw

// One tile of one module's gradient.
struct GradientTile {
  const LinearModule* module;
  std::int64_t first, width;
};

// Tiles of `extent(module)` columns of all modules with LoRA.
template <typename Extent>
std::vector<GradientTile> gradient_tiles(const LinearGroup& group, const Extent& extent) {
  std::vector<GradientTile> tiles;
  for (const LinearModule& module : group.modules) {
    if (module.slot < 0) continue;
    const std::int64_t columns = extent(module);
    for (std::int64_t first = 0; first < columns; first += kColumns) {
      tiles.push_back({&module, first, std::min(kColumns, columns - first)});
    }
  }
  return tiles;
}

}  // namespace

void lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                 ConstTensorView x_extended, ConstTensorView dx_extended) {
  constexpr const char* kOp = "lora_grad_a";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "x_extended", x_extended);
  const std::int64_t tokens = x_extended.rows, in = group.in(), rank = group.rank, tail = group.extension_columns();
  check_matrix(kOp, "x_extended", x_extended, x_extended.dtype, tokens, in + tail);
  check_matrix(kOp, "dx_extended", dx_extended, x_extended.dtype, tokens, in + tail);

  const WorkspaceFrame frame(*context.workspace);
  const ConstMatrix dxa = widened(context, dx_extended.slice_cols(in, tail));
  const std::vector<GradientTile> tiles = gradient_tiles(group, [&](const LinearModule&) { return in; });
  const WorkerScratch scratch(context, {kSlab * kColumns, rank * kColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    SHORI_CHECK(module->da != nullptr, "lora_grad_a: a module with LoRA lacks its gradient");
    const auto [input, product] = scratch.of(worker);
    for (std::int64_t row = 0; row < tokens; row += kSlab) {
      const std::int64_t rows = std::min(kSlab, tokens - row);
      for (std::int64_t i = 0; i < rows; ++i) {
        load_row(x_extended, row + i, first, width, input + i * width);
        if (dropout.probability > 0) drop_row(dropout, module->index, row + i, first, width, input + i * width);
      }
      matmul(dxa.slice(row, rows, module->slot * rank, rank).transposed(), dense(input, rows, width), product, width);
      for (std::int64_t i = 0; i < rank; ++i) {
        add_scaled_row(dropout.scale(), product + i * width, module->da + i * in + first, width);
      }
    }
  });
}

void lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView x_extended, ConstTensorView dy) {
  constexpr const char* kOp = "lora_grad_b";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "x_extended", x_extended);
  const std::int64_t tokens = x_extended.rows, in = group.in(), rank = group.rank, tail = group.extension_columns();
  check_matrix(kOp, "x_extended", x_extended, x_extended.dtype, tokens, in + tail);
  check_matrix(kOp, "dy", dy, x_extended.dtype, tokens, group.out());

  const WorkspaceFrame frame(*context.workspace);
  const ConstMatrix xa = widened(context, x_extended.slice_cols(in, tail));
  const std::vector<GradientTile> tiles =
      gradient_tiles(group, [](const LinearModule& module) { return module.weight.rows; });
  std::array<std::int64_t, kMaxModulesOfGroup> first_column{};
  for (std::size_t i = 1; i < group.modules.size(); ++i)
    first_column[i] = first_column[i - 1] + group.modules[i - 1].weight.rows;
  const WorkerScratch scratch(context, {kSlab * kColumns, rank * kColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    SHORI_CHECK(module->db != nullptr, "lora_grad_b: a module with LoRA lacks its gradient");
    const std::int64_t column = first_column[static_cast<std::size_t>(module - group.modules.data())] + first;
    const auto [gradient, product] = scratch.of(worker);
    for (std::int64_t row = 0; row < tokens; row += kSlab) {
      const std::int64_t rows = std::min(kSlab, tokens - row);
      for (std::int64_t i = 0; i < rows; ++i) load_row(dy, row + i, column, width, gradient + i * width);
      matmul(dense(gradient, rows, width).transposed(), xa.slice(row, rows, module->slot * rank, rank), product, rank);
      add_scaled_row(group.scaling, product, module->db + first * rank, width * rank);
    }
  });
}

void round_lora_factor(const OpContext& context, ConstTensorView master, float scale, TensorView out) {
  check_context(context, "round_lora_factor");
  check_matrix("round_lora_factor", "master", master, DType::kF32, master.rows, master.cols);
  check_activation("round_lora_factor", "out", out);
  check_matrix("round_lora_factor", "out", out, out.dtype, master.rows, master.cols);
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

}  // namespace shori
