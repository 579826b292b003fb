// A task is 256 columns of the result for up to 1,024 tokens. For one block of k after the other it decodes and packs the
// block of the weight [k, 256], about 1 MiB, which stays in the second cache while all rows of the task meet it. The rows
// are packed once for all tasks. Blocks are a matter of speed alone: no bit depends on them.
#include "kernels/linear/tile_linear.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/nf4_decode.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"

namespace shori {

namespace {

constexpr std::int64_t kColumns = 256;   // of a task
constexpr std::int64_t kTokens = 1024;   // of a task
constexpr std::int64_t kDepth = 2112;    // most k of a block
constexpr std::int64_t kDecoded = 256;   // elements of a row that are decoded at once; 32 rows stay in the first cache
constexpr std::int64_t kPanelRows = 32;  // rows of the weight that become the columns of a panel, or its k of one step

// The elements [first, first + count) that also lie in [begin, begin + length).
struct Overlap {
  Overlap(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t length)
      : start(std::max(first, begin)), size(std::min(first + count, begin + length) - start) {}
  std::int64_t start, size;  // size <= 0: none
};

// Columns [first, first + count) of row `row` of [W | B'] of one module; zeros where it has none.
void fused_row(CpuIsa isa, const LinearGroup& group, const LinearModule& module, std::int64_t row, std::int64_t first,
               std::int64_t count, Bf16* out) {
  const std::int64_t in = group.in(), rank = group.rank;
  const Overlap base(first, count, 0, in);
  if (base.size < count) std::fill_n(out, count, Bf16{0});
  if (base.size > 0) {
    const std::int64_t element = row * in + base.start;
    Bf16* to = out + (base.start - first);
    if (module.weight.dtype == DType::kU8) {
      decode_nf4(isa, module.weight.nf4, element, base.size, to);
    } else {
      std::copy_n(static_cast<const Bf16*>(module.weight.dense) + element, base.size, to);
    }
  }
  if (!module.has_lora()) return;
  const std::int64_t slot = in + module.lora_index * rank;
  const Overlap lora(first, count, slot, rank);
  if (lora.size <= 0) return;
  const Bf16* b = static_cast<const Bf16*>(module.b_scaled) + row * rank;
  std::copy_n(b + (lora.start - slot), lora.size, out + (lora.start - first));
}

// Splits k into equal blocks of at most kDepth, each a multiple of 32.
std::int64_t depth_of_block(std::int64_t depth) { return padded(ceil_div(depth, ceil_div(depth, kDepth))); }

// The columns [first_column, first_column + width) of the result, for tokens [row, row + rows). `pack_block(k, count, out)`
// packs the right operand for k of [k, k + count).
template <typename PackBlock>
void multiply_task(const PackedRows& left, std::int64_t row, std::int64_t rows, std::int64_t width, Bf16* panels,
                   float* sums, const PackBlock& pack_block, TensorView out, std::int64_t first_column) {
  const std::int64_t block = depth_of_block(left.depth);
  for (std::int64_t k = 0; k < left.depth; k += block) {
    const std::int64_t count = std::min(block, left.depth - k);
    pack_block(k, count, panels);
    multiply({.a = left.data + row * left.depth + k * kStripRows,
              .a_depth = left.depth,
              .b = panels,
              .b_depth = count,
              .rows = rows,
              .k = count,
              .cols = width,
              .c = sums,
              .c_stride = kColumns,
              .sum = k == 0 ? Sum::kReplace : Sum::kAdd});
  }
  for (std::int64_t i = 0; i < rows; ++i) store_row(sums + i * kColumns, out, row + i, first_column, width);
}

// Packed panels of a block, and the sums of a task. Both are arrays of floats to the workspace.
WorkerScratch<2> task_scratch(const OpContext& context, std::int64_t depth, std::int64_t tokens) {
  return {context, {depth_of_block(depth) * kColumns / 2, std::min(tokens, kTokens) * kColumns}};
}

}  // namespace

bool is_tile_linear(const LinearGroup& group, DType activation) {
  if (activation != DType::kBf16 || !use_tile_products()) return false;
  return std::none_of(group.modules.begin(), group.modules.end(),
                      [](const LinearModule& module) { return module.weight.dtype == DType::kF32; });
}

void tile_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y) {
  struct Task {
    const LinearModule* module;
    std::int64_t col, first_column;
  };
  std::vector<Task> tasks;
  std::int64_t first_column = 0;
  for (const LinearModule& module : group.modules) {
    for (std::int64_t col = 0; col < module.weight.rows; col += kColumns) {
      tasks.push_back({&module, col, first_column + col});
    }
    first_column += module.weight.rows;
  }
  const CpuIsa isa = cpu_isa();
  const PackedRows left = packed_rows(context, fused_x);
  const WorkerScratch<2> scratch = task_scratch(context, left.depth, left.count);
  const std::int64_t blocks = ceil_div(left.count, kTokens);
  for_each_task(static_cast<std::int64_t>(tasks.size()) * blocks, [&](std::int64_t index, std::int64_t worker) {
    const auto& [module, col, column] = tasks[static_cast<std::size_t>(index / blocks)];
    const std::int64_t row = index % blocks * kTokens, width = std::min(kColumns, module->weight.rows - col);
    // b = [W | B']^T: 32 rows of the weight are the columns of a panel.
    const auto pack_block = [&](std::int64_t k, std::int64_t count, Bf16* panels) {
      alignas(64) Bf16 rows[kPanelRows * kDecoded];
      for (std::int64_t panel = 0; panel < width; panel += kPanelRows) {
        const std::int64_t columns = std::min(kPanelRows, width - panel);
        for (std::int64_t done = 0; done < count; done += kDecoded) {
          const std::int64_t size = std::min(kDecoded, count - done);
          for (std::int64_t i = 0; i < columns; ++i) {
            fused_row(isa, group, *module, col + panel + i, k + done, size, rows + i * kDecoded);
          }
          pack_panel_of_transposed(rows, kDecoded, size, columns, panels + panel * count + done * kPanelColumns);
        }
      }
    };
    const auto [panels, sums] = scratch.of(worker);
    multiply_task(left, row, std::min(kTokens, left.count - row), width, reinterpret_cast<Bf16*>(panels), sums,
                  pack_block, y, column);
  });
}

void tile_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx) {
  const CpuIsa isa = cpu_isa();
  const PackedRows left = packed_rows(context, dy);
  const WorkerScratch<2> scratch = task_scratch(context, left.depth, left.count);
  const std::int64_t cols = group.fused_in(), out = group.out(), blocks = ceil_div(left.count, kTokens);
  for_each_task(ceil_div(cols, kColumns) * blocks, [&](std::int64_t index, std::int64_t worker) {
    const std::int64_t col = index / blocks * kColumns, width = std::min(kColumns, cols - col);
    const std::int64_t row = index % blocks * kTokens;
    // b = [W | B'] of all modules, one after the other: 32 rows are the k of one step.
    const auto pack_block = [&](std::int64_t k, std::int64_t count, Bf16* panels) {
      alignas(64) Bf16 rows[kPanelRows * kColumns];
      const LinearModule* module = group.modules.data();
      std::int64_t weight_row = k;  // of the module
      for (std::int64_t step = 0; step < count; step += kPanelRows) {
        const std::int64_t present = std::clamp<std::int64_t>(out - k - step, 0, kPanelRows);
        for (std::int64_t i = 0; i < present; ++i, ++weight_row) {
          while (weight_row >= module->weight.rows) weight_row -= module++->weight.rows;
          fused_row(isa, group, *module, weight_row, col, width, rows + i * kColumns);
        }
        for (std::int64_t panel = 0; panel < width; panel += kPanelColumns) {
          pack_panel(rows + panel, kColumns, present, std::min(kPanelColumns, width - panel),
                     panels + panel * count + step * kPanelColumns);
        }
      }
    };
    const auto [panels, sums] = scratch.of(worker);
    multiply_task(left, row, std::min(kTokens, left.count - row), width, reinterpret_cast<Bf16*>(panels), sums,
                  pack_block, fused_dx, col);
  });
}

}  // namespace shori
