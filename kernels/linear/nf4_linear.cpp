#include "shori/ops/nf4_linear.h"

#include <algorithm>

#include "kernels/common/device_matmul.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/linear/fused_weight.h"
#include "shori/ops/device_limits.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Tiles of the result; part of the arithmetic, chosen by shape alone.
constexpr std::int64_t kTokens = 512;
constexpr std::int64_t kColumns = 128;

struct Module {
  const LinearModule* linear;
  std::int64_t first_column;  // of its output among the group's
  ConstMatrix b;              // [out, rank], empty without LoRA
};

// Modules in order, with B' widened.
std::vector<Module> prepare(const OpContext& context, const LinearGroup& group, DType activation) {
  std::vector<Module> result;
  std::int64_t column = 0;
  for (const LinearModule& linear : group.modules) {
    Module module{&linear, column, {}};
    if (linear.has_lora()) {
      module.b =
          widened(context, ConstTensorView{linear.b_scaled, activation, linear.weight.rows, group.rank, group.rank});
    }
    result.push_back(module);
    column += linear.weight.rows;
  }
  return result;
}

// One tile of y: tokens from `row`, outputs of the module from `col`.
struct OutputTile {
  const Module* module;
  std::int64_t row, col;
};

// Where a tile of the result is summed: in `view` itself when that is fp32, else in scratch.
struct Accumulator {
  float* data;
  std::int64_t stride;
};
Accumulator accumulator(TensorView view, std::int64_t row, std::int64_t col, float* scratch, std::int64_t width) {
  if (view.dtype == DType::kF32) return {view.row<float>(row) + col, view.stride};
  return {scratch, width};
}
void finish(const Accumulator& sum, TensorView view, std::int64_t row, std::int64_t rows, std::int64_t col,
            std::int64_t width) {
  if (view.dtype == DType::kF32) return;
  for (std::int64_t i = 0; i < rows; ++i) store_row(sum.data + i * sum.stride, view, row + i, col, width);
}

}  // namespace

void nf4_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y) {
  check_context(context, "nf4_linear");
  check_group("nf4_linear", group);
  check_activation("nf4_linear", "fused_x", fused_x);
  const std::int64_t tokens = fused_x.rows, in = group.in(), rank = group.rank;
  check_matrix("nf4_linear", "fused_x", fused_x, fused_x.dtype, tokens, in + group.lora_columns());
  check_matrix("nf4_linear", "y", y, fused_x.dtype, tokens, group.out());
  log_work(context, {.flop = product_flop(tokens, group.out(), fused_x.cols)});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_rows("nf4_linear", "fused_x", fused_x);
    check_device_rows("nf4_linear", "y", y);
    device_matmul(context, MatmulB::kTransposed, fused_x, fused_weight(context, "nf4_linear", group), y);
    return;
  }
  const std::vector<Module> modules = prepare(context, group, fused_x.dtype);
  const ConstMatrix x = widened(context, fused_x);
  const WorkerScratch scratch(context, {kColumns * in, kTokens * kColumns});
  std::vector<OutputTile> tiles;
  for (const Module& module : modules) {
    for (std::int64_t col = 0; col < module.linear->weight.rows; col += kColumns) {
      for (std::int64_t row = 0; row < tokens; row += kTokens) tiles.push_back({&module, row, col});
    }
  }
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, row, col] = tiles[static_cast<std::size_t>(task)];
    const auto [weight_scratch, result_scratch] = scratch.of(worker);
    const LinearModule& linear = *module->linear;
    const std::int64_t rows = std::min(kTokens, tokens - row), width = std::min(kColumns, linear.weight.rows - col);
    const std::int64_t column = module->first_column + col;
    const Accumulator sum = accumulator(y, row, column, result_scratch, width);
    matmul(x.slice(row, rows, 0, in), weight_tile(linear.weight, col, width, 0, in, weight_scratch).transposed(),
           sum.data, sum.stride);
    if (linear.has_lora()) {
      matmul(x.slice(row, rows, in + linear.lora_index * rank, rank), module->b.slice_rows(col, width).transposed(),
             sum.data, sum.stride, Sum::kAdd);
    }
    finish(sum, y, row, rows, column, width);
  });
}

void nf4_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx) {
  constexpr const char* kOp = "nf4_linear_backward";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "dy", dy);
  const std::int64_t tokens = dy.rows, in = group.in(), rank = group.rank, tail = group.lora_columns();
  check_matrix(kOp, "dy", dy, dy.dtype, tokens, group.out());
  check_matrix(kOp, "fused_dx", fused_dx, dy.dtype, tokens, in + tail);
  log_work(context, {.flop = product_flop(tokens, group.out(), in + tail)});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_rows(kOp, "dy", dy);
    check_device_rows(kOp, "fused_dx", fused_dx);
    device_matmul(context, MatmulB::kPlain, dy, fused_weight(context, kOp, group), fused_dx);
    return;
  }
  const std::vector<Module> modules = prepare(context, group, dy.dtype);
  const ConstMatrix gradient = widened(context, dy);
  std::int64_t most_rows = 0;
  for (const Module& module : modules) most_rows = std::max(most_rows, module.linear->weight.rows);
  const WorkerScratch scratch(context, {most_rows * kColumns, kTokens * std::max(kColumns, tail)});
  const std::int64_t token_tiles = ceil_div(tokens, kTokens), base_tiles = ceil_div(in, kColumns);

  const auto base_part = [&](std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t worker) {
    const auto [weight_scratch, result_scratch] = scratch.of(worker);
    const std::int64_t width = std::min(kColumns, in - col);
    const Accumulator sum = accumulator(fused_dx, row, col, result_scratch, width);
    for (const Module& module : modules) {
      const std::int64_t out = module.linear->weight.rows;
      matmul(gradient.slice(row, rows, module.first_column, out),
             weight_tile(module.linear->weight, 0, out, col, width, weight_scratch), sum.data, sum.stride,
             &module == &modules.front() ? Sum::kReplace : Sum::kAdd);
    }
    finish(sum, fused_dx, row, rows, col, width);
  };
  const auto lora_part = [&](std::int64_t row, std::int64_t rows, std::int64_t worker) {
    float* tile = scratch.of(worker)[1];
    std::fill_n(tile, rows * tail, 0.0f);
    for (const Module& module : modules) {
      if (!module.linear->has_lora()) continue;
      matmul(gradient.slice(row, rows, module.first_column, module.b.rows), module.b,
             tile + module.linear->lora_index * rank, tail);
    }
    for (std::int64_t i = 0; i < rows; ++i) store_row(tile + i * tail, fused_dx, row + i, in, tail);
  };
  for_each_task(token_tiles * (base_tiles + (tail > 0 ? 1 : 0)), [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t row = task % token_tiles * kTokens, rows = std::min(kTokens, tokens - row);
    const std::int64_t part = task / token_tiles;
    if (part < base_tiles) {
      base_part(row, rows, part * kColumns, worker);
    } else {
      lora_part(row, rows, worker);
    }
  });
}

std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t fused_in) {
  return device_bytes(out * fused_in * static_cast<std::int64_t>(sizeof(Bf16))) + kMatmulWorkspaceBytes;
}

}  // namespace shori
