// The linears of one group. Frozen weights are never kept dequantized: a device writes [W | B'] of the whole group to the
// workspace and runs one large product, or decodes in the product (nf4_product.h); the CPU cuts the result into tiles, and
// each task dequantizes the part of the weight that its tiles need. All add xA B'^T into the same fp32 sum before they round.
#include "shori/ops/nf4_linear.h"

#include <algorithm>

#include "kernels/common/device_matmul.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/linear/fused_weight.h"
#include "kernels/linear/nf4_product.h"
#include "kernels/linear/product_choice.h"
#include "kernels/linear/tile_linear.h"
#include "shori/ops/device_limits.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Tiles of the result on the CPU. They are part of the arithmetic, so they depend on nothing but the shape.
constexpr std::int64_t kTokens = 512;
constexpr std::int64_t kColumns = 128;

struct Module {
  const LinearModule* linear;
  std::int64_t first_column;  // of its output among the group's
  ConstMatrix b;              // B' [out, rank] as fp32; empty without LoRA
};

std::vector<Module> widen_modules(const OpContext& context, const LinearGroup& group, DType activation) {
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

// Token tiles of a task, which share one decoded tile of the weight: up to four, but few enough that each worker gets about
// four tasks. Each tile is a product of its own, so no bit depends on how many a task has.
std::int64_t tokens_of_task(std::int64_t tokens, std::int64_t column_tiles) {
  const std::int64_t tiles = ceil_div(tokens, kTokens), wanted = ceil_div(4 * worker_count(), column_tiles);
  return std::clamp<std::int64_t>(tiles / wanted, 1, 4) * kTokens;
}

// Calls body(first, rows) for each tile of the tokens [row, row + count).
template <typename Body>
void for_each_token_tile(std::int64_t row, std::int64_t count, const Body& body) {
  for (std::int64_t first = row; first < row + count; first += kTokens) {
    body(first, std::min(kTokens, row + count - first));
  }
}

// Outputs of the module from `col` on, for tokens [row, row + rows).
struct OutputTask {
  const Module* module;
  std::int64_t row, rows, col;
};

std::vector<OutputTask> output_tasks(const std::vector<Module>& modules, std::int64_t tokens) {
  std::int64_t column_tiles = 0;
  for (const Module& module : modules) column_tiles += ceil_div(module.linear->weight.rows, kColumns);
  const std::int64_t step = tokens_of_task(tokens, column_tiles);
  std::vector<OutputTask> tasks;
  for (const Module& module : modules) {
    for (std::int64_t col = 0; col < module.linear->weight.rows; col += kColumns) {
      for (std::int64_t row = 0; row < tokens; row += step) {
        tasks.push_back({&module, row, std::min(step, tokens - row), col});
      }
    }
  }
  return tasks;
}

// Where a tile of the result is summed: in the result itself if that is fp32, else in scratch.
struct Accumulator {
  float* data;
  std::int64_t stride;
};
Accumulator accumulator(TensorView view, std::int64_t row, std::int64_t col, float* scratch, std::int64_t width) {
  if (view.dtype == DType::kF32) return {view.row<float>(row) + col, view.stride};
  return {scratch, width};
}
void store_tile(const Accumulator& sum, TensorView view, std::int64_t row, std::int64_t rows, std::int64_t col,
                std::int64_t width) {
  if (view.dtype == DType::kF32) return;
  for (std::int64_t i = 0; i < rows; ++i) store_row(sum.data + i * sum.stride, view, row + i, col, width);
}

void nf4_linear_on_cpu(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y) {
  const std::int64_t tokens = fused_x.rows, in = group.in(), rank = group.rank;
  const std::vector<Module> modules = widen_modules(context, group, fused_x.dtype);
  const std::vector<OutputTask> tasks = output_tasks(modules, tokens);
  const ConstMatrix x = widened(context, fused_x);
  const WorkerScratch scratch(context, {kColumns * in, kTokens * kColumns});
  for_each_task(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, count, col] = tasks[static_cast<std::size_t>(task)];
    const auto [weight_scratch, result_scratch] = scratch.of(worker);
    const LinearModule& linear = *module->linear;
    const std::int64_t width = std::min(kColumns, linear.weight.rows - col), column = module->first_column + col;
    const ConstMatrix weight = weight_tile(linear.weight, col, width, 0, in, weight_scratch).transposed();
    for_each_token_tile(first, count, [&](std::int64_t row, std::int64_t rows) {
      const Accumulator sum = accumulator(y, row, column, result_scratch, width);
      matmul(x.slice(row, rows, 0, in), weight, sum.data, sum.stride);
      if (linear.has_lora()) {
        matmul(x.slice(row, rows, in + linear.lora_index * rank, rank), module->b.slice_rows(col, width).transposed(),
               sum.data, sum.stride, Sum::kAdd);
      }
      store_tile(sum, y, row, rows, column, width);
    });
  });
}

// The backward pass on the CPU: tiles of dx, then d(xA) of all modules for a tile of tokens.
class CpuBackward {
 public:
  CpuBackward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx)
      : in_(group.in()),
        rank_(group.rank),
        lora_columns_(group.lora_columns()),
        fused_dx_(fused_dx),
        modules_(widen_modules(context, group, dy.dtype)),
        dy_(widened(context, dy)),
        tokens_of_task_(tokens_of_task(dy.rows, ceil_div(in_, kColumns))),
        scratch_(context, {max_rows() * kColumns, tokens_of_task_ * kColumns, kTokens * lora_columns_}) {}

  void run() const {
    const std::int64_t tokens = dy_.rows, blocks = ceil_div(tokens, tokens_of_task_);
    const std::int64_t base_tiles = ceil_div(in_, kColumns), column_tiles = base_tiles + (lora_columns_ > 0 ? 1 : 0);
    for_each_task(blocks * column_tiles, [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t row = task % blocks * tokens_of_task_, rows = std::min(tokens_of_task_, tokens - row);
      const std::int64_t tile = task / blocks;
      if (tile < base_tiles) {
        base_tiles_of(row, rows, tile * kColumns, worker);
      } else {
        for_each_token_tile(row, rows,
                            [&](std::int64_t first, std::int64_t count) { lora_tile(first, count, worker); });
      }
    });
  }

 private:
  std::int64_t max_rows() const {
    std::int64_t rows = 0;
    for (const Module& module : modules_) rows = std::max(rows, module.linear->weight.rows);
    return rows;
  }

  // Columns from `col` on of dy W, summed over the modules in order.
  void base_tiles_of(std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t worker) const {
    float *weight_scratch = scratch_.of(worker)[0], *result_scratch = scratch_.of(worker)[1];
    const std::int64_t width = std::min(kColumns, in_ - col);
    const auto sum_of = [&](std::int64_t first) {
      return accumulator(fused_dx_, first, col, result_scratch + (first - row) * width, width);
    };
    for (const Module& module : modules_) {
      const std::int64_t out = module.linear->weight.rows;
      const ConstMatrix weight = weight_tile(module.linear->weight, 0, out, col, width, weight_scratch);
      for_each_token_tile(row, rows, [&](std::int64_t first, std::int64_t count) {
        const Accumulator sum = sum_of(first);
        matmul(dy_.slice(first, count, module.first_column, out), weight, sum.data, sum.stride,
               &module == &modules_.front() ? Sum::kReplace : Sum::kAdd);
      });
    }
    store_tile(sum_of(row), fused_dx_, row, rows, col, width);
  }

  // All LoRA columns: dy B' of each module with LoRA, then zeros.
  void lora_tile(std::int64_t row, std::int64_t rows, std::int64_t worker) const {
    float* tile = scratch_.of(worker)[2];
    std::fill_n(tile, rows * lora_columns_, 0.0f);
    for (const Module& module : modules_) {
      if (!module.linear->has_lora()) continue;
      matmul(dy_.slice(row, rows, module.first_column, module.b.rows), module.b,
             tile + module.linear->lora_index * rank_, lora_columns_);
    }
    for (std::int64_t i = 0; i < rows; ++i) store_row(tile + i * lora_columns_, fused_dx_, row + i, in_, lora_columns_);
  }

  std::int64_t in_, rank_, lora_columns_;
  TensorView fused_dx_;
  std::vector<Module> modules_;
  ConstMatrix dy_;
  std::int64_t tokens_of_task_;
  WorkerScratch<3> scratch_;  // a tile of the weight, the base tiles of a task, a LoRA tile
};

// Either pass on a device: the library's product with dequantized weights, or the kernel that decodes them.
void linear_on_device(const OpContext& context, const char* op, MatmulB form, const LinearGroup& group,
                      ConstTensorView from, TensorView to) {
  const auto library = [&] {
    const WorkspaceFrame frame(*context.workspace);
    device_matmul(context, form, from, fused_weight(context, op, group), to);
  };
  const auto nf4 = [&] {
    const bool half_sums = adds_faster_in_half(open_device());
    form == MatmulB::kTransposed ? nf4_product(context, group, half_sums, from, to)
                                 : nf4_product_backward(context, group, half_sums, from, to);
  };
  run_frozen_product(context, form, group, from.rows, {library, nf4});
}

}  // namespace

void nf4_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y) {
  constexpr const char* kOp = "nf4_linear";
  check_context(context, kOp);
  check_linear(kOp, group, fused_x, y);
  log_work(context, {.flop = product_flop(fused_x.rows, group.out(), group.fused_in())});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_rows(kOp, "fused_x", fused_x);
    check_device_rows(kOp, "y", y);
    linear_on_device(context, kOp, MatmulB::kTransposed, group, fused_x, y);
    return;
  }
  if (is_tile_linear(group, fused_x.dtype)) {
    tile_linear(context, group, fused_x, y);
  } else {
    nf4_linear_on_cpu(context, group, fused_x, y);
  }
}

void nf4_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx) {
  constexpr const char* kOp = "nf4_linear_backward";
  check_context(context, kOp);
  check_group(kOp, group);
  check_activation(kOp, "dy", dy);
  check_matrix(kOp, "dy", dy, dy.dtype, dy.rows, group.out());
  check_matrix(kOp, "fused_dx", fused_dx, dy.dtype, dy.rows, group.fused_in());
  log_work(context, {.flop = product_flop(dy.rows, group.out(), group.fused_in())});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_rows(kOp, "dy", dy);
    check_device_rows(kOp, "fused_dx", fused_dx);
    linear_on_device(context, kOp, MatmulB::kPlain, group, dy, fused_dx);
    return;
  }
  if (is_tile_linear(group, dy.dtype)) {
    tile_linear_backward(context, group, dy, fused_dx);
  } else {
    CpuBackward(context, group, dy, fused_dx).run();
  }
}

std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t fused_in) {
  return device_bytes(out * fused_in * static_cast<std::int64_t>(sizeof(Bf16))) + kMatmulWorkspaceBytes;
}

}  // namespace shori
