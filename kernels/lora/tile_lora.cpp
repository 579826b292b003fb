#include "kernels/lora/tile_lora.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/lora/gradient_columns.h"
#include "kernels/lora/lora_grad_launch.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr std::int64_t kRows = 128;  // tokens of a task of lora_down

Bf16* as_bf16(float* memory) { return reinterpret_cast<Bf16*>(memory); }

Bf16* take_bf16(const OpContext& context, std::int64_t count) {
  return context.workspace->take_array<Bf16>(static_cast<std::size_t>(count));
}

// A^T [in, rank] of each module with LoRA, packed as a right operand.
using PackedFactors = std::array<const Bf16*, kMaxModulesOfGroup>;

PackedFactors packed_factors(const OpContext& context, const LinearGroup& group) {
  PackedFactors factors{};
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    Bf16* packed = take_bf16(context, packed_elements(group.in(), group.rank));
    const auto* a = static_cast<const Bf16*>(module.a);
    for (std::int64_t first = 0; first < group.rank; first += kPanelColumns) {
      pack_panel_of_transposed(a + first * group.in(), group.in(), group.in(),
                               std::min(kPanelColumns, group.rank - first), packed + first * padded(group.in()));
    }
    factors[static_cast<std::size_t>(module.lora_index)] = packed;
  }
  return factors;
}

// The narrow operand of a gradient, dxA or xA of each module with LoRA, packed for each slab of tokens: transposed as the
// left operand [rank, tokens], or as the right one [tokens, rank].
enum class Side : std::uint8_t { kLeft, kRight };

class PackedSlabs {
 public:
  PackedSlabs(const OpContext& context, const LinearGroup& group, ConstTensorView fused, Side side)
      : rank_(group.rank), tokens_(padded(fused.rows)) {
    const std::int64_t modules = group.lora_count(), slabs = ceil_div(fused.rows, kGradientSlab);
    memory_ = take_bf16(context, modules * tokens_ * padded(rank_));
    for_each_task(modules * slabs, [&](std::int64_t task, std::int64_t) {
      const std::int64_t index = task / slabs, row = task % slabs * kGradientSlab;
      const std::int64_t count = std::min(kGradientSlab, fused.rows - row);
      const Bf16* from = fused.row<Bf16>(row) + group.in() + index * rank_;
      const auto pack = side == Side::kLeft ? pack_left_rows_of_transposed : pack_columns;
      for (std::int64_t first = 0; first < rank_; first += kLeftRows) {
        pack(from + first, fused.stride, std::min(kLeftRows, rank_ - first), count,
             slab(index, row) + first * padded(count));
      }
    });
  }

  // The operand of a module for the slab that begins at token `row`.
  const Bf16* of(const LinearModule& module, std::int64_t row) const { return slab(module.lora_index, row); }

 private:
  static_assert(kLeftRows == kPanelColumns && kGradientSlab % kTileDepth == 0);
  static void pack_columns(const Bf16* b, std::int64_t stride, std::int64_t cols, std::int64_t k, Bf16* out) {
    pack_panel(b, stride, k, cols, out);
  }
  Bf16* slab(std::int64_t index, std::int64_t row) const { return memory_ + (index * tokens_ + row) * padded(rank_); }

  std::int64_t rank_, tokens_;
  Bf16* memory_ = nullptr;
};

}  // namespace

void tile_lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView fused_x) {
  const std::int64_t cols = group.in(), depth = padded(cols), rank = group.rank, lora_columns = group.lora_columns();
  const bool drops = dropout.probability > 0;
  const PackedFactors factors = packed_factors(context, group);
  const WorkerScratch scratch(context, {kLeftRows * cols / 2, kRows * depth / 2, kRows * rank + lora_columns});
  for_each_task(ceil_div(fused_x.rows, kRows), [&](std::int64_t task, std::int64_t worker) {
    const auto [copy_memory, left_memory, xa] = scratch.of(worker);
    Bf16 *copy = as_bf16(copy_memory), *left = as_bf16(left_memory);
    const std::int64_t begin = task * kRows, count = std::min(kRows, fused_x.rows - begin);
    const auto pack_rows = [&](const LinearModule& module, std::int64_t row, std::int64_t rows) {
      const Bf16* from = fused_x.row<Bf16>(row);
      std::int64_t stride = fused_x.stride;
      if (drops) {
        for (std::int64_t i = 0; i < rows; ++i) {
          std::copy_n(from + i * stride, cols, copy + i * cols);
          drop_row(dropout, module.number(), row + i, 0, cols, copy + i * cols);
        }
        from = copy;
        stride = cols;
      }
      pack_left_rows(from, stride, rows, cols, left + (row - begin) * depth);
    };
    bool packed = false;
    for (const LinearModule& module : group.modules) {
      if (!module.has_lora()) continue;
      for (std::int64_t first = 0; first < count && (drops || !packed); first += kLeftRows) {
        pack_rows(module, begin + first, std::min(kLeftRows, count - first));
      }
      packed = true;
      multiply({.a = left,
                .a_depth = depth,
                .b = factors[static_cast<std::size_t>(module.lora_index)],
                .b_depth = depth,
                .rows = count,
                .k = cols,
                .cols = rank,
                .c = xa,
                .c_stride = rank});
      scale_row(dropout.scale(), xa, count * rank);
      for (std::int64_t i = 0; i < count; ++i) {
        store_row(xa + i * rank, fused_x, begin + i, cols + module.lora_index * rank, rank);
      }
    }
    const std::int64_t used = group.lora_count() * rank;
    std::fill_n(xa, lora_columns - used, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) store_row(xa, fused_x, begin + i, cols + used, lora_columns - used);
  });
}

void tile_lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                      ConstTensorView fused_x, ConstTensorView fused_dx) {
  const std::int64_t tokens = fused_x.rows, in = group.in(), rank = group.rank;
  const PackedSlabs dxa(context, group, fused_dx, Side::kLeft);
  const std::vector<GradientTile> tiles = gradient_tiles(group, [&](const LinearModule&) { return in; });
  constexpr std::int64_t kSlabFloats = kGradientSlab * kGradientColumns / 2;
  const WorkerScratch scratch(context, {kSlabFloats, kSlabFloats, rank * kGradientColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    const auto [input_memory, panel_memory, product] = scratch.of(worker);
    Bf16 *input = as_bf16(input_memory), *panels = as_bf16(panel_memory);
    for (std::int64_t row = 0; row < tokens; row += kGradientSlab) {
      const std::int64_t count = std::min(kGradientSlab, tokens - row), depth = padded(count);
      for (std::int64_t i = 0; i < count; ++i) {
        std::copy_n(fused_x.row<Bf16>(row + i) + first, width, input + i * width);
        if (dropout.probability > 0) drop_row(dropout, module->number(), row + i, first, width, input + i * width);
      }
      for (std::int64_t col = 0; col < width; col += kPanelColumns) {
        pack_panel(input + col, width, count, std::min(kPanelColumns, width - col), panels + col * depth);
      }
      multiply({.a = dxa.of(*module, row),
                .a_depth = depth,
                .b = panels,
                .b_depth = depth,
                .rows = rank,
                .k = count,
                .cols = width,
                .c = product,
                .c_stride = width});
      for (std::int64_t i = 0; i < rank; ++i) {
        add_scaled_row(dropout.scale(), product + i * width, module->da + i * in + first, width);
      }
    }
  });
}

void tile_lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy) {
  const std::int64_t tokens = fused_x.rows, rank = group.rank;
  const PackedSlabs xa(context, group, fused_x, Side::kRight);
  const std::vector<GradientTile> tiles =
      gradient_tiles(group, [](const LinearModule& module) { return module.weight.rows; });
  const WorkerScratch scratch(context, {kGradientSlab * kGradientColumns / 2, rank * kGradientColumns});
  for_each_task(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t task, std::int64_t worker) {
    const auto& [module, first, width] = tiles[static_cast<std::size_t>(task)];
    const auto [left_memory, product] = scratch.of(worker);
    Bf16* left = as_bf16(left_memory);
    std::int64_t column = first;  // of dy
    for (const LinearModule* before = group.modules.data(); before != module; ++before) column += before->weight.rows;
    for (std::int64_t row = 0; row < tokens; row += kGradientSlab) {
      const std::int64_t count = std::min(kGradientSlab, tokens - row), depth = padded(count);
      for (std::int64_t i = 0; i < width; i += kLeftRows) {
        pack_left_rows_of_transposed(dy.row<Bf16>(row) + column + i, dy.stride, std::min(kLeftRows, width - i), count,
                                     left + i * depth);
      }
      multiply({.a = left,
                .a_depth = depth,
                .b = xa.of(*module, row),
                .b_depth = depth,
                .rows = width,
                .k = count,
                .cols = rank,
                .c = product,
                .c_stride = rank});
      add_scaled_row(group.scaling, product, module->db + first * rank, width * rank);
    }
  });
}

}  // namespace shori
