#include "kernels/lora/lora_input.h"

#include <algorithm>
#include <limits>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/dropout_mask_launch.h"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

namespace {

// The masks that lora_grad_a left, else drawn now.
const std::uint8_t* kept_masks(const OpContext& context, const char* op, const LoraInputGradient& lora,
                               std::int64_t rows) {
  const LinearGroup& group = *lora.group;
  if (lora.dropout.threshold() == 0 || rows == 0 || group.lora_count() == 0) return nullptr;
  SHORI_CHECK(rows * group.mask_bytes() <= std::numeric_limits<std::int32_t>::max(),
              std::string(op) + ": too many tokens for one call");
  if (lora.kept) {
    check_kept_masks(op, group, rows, *lora.kept);
    return lora.kept->row<std::uint8_t>(0);
  }
  DrawMasksLaunch launch{
      .kept = context.workspace->take_array<std::uint8_t>(static_cast<std::size_t>(rows * group.mask_bytes())),
      .rows = rows,
      .cols = group.in(),
      .modules = static_cast<int>(group.lora_count()),
      .module_index = {},
      .mask = DropoutMask(lora.dropout)};
  for (const LinearModule& module : group.modules) {
    if (module.has_lora()) launch.module_index[module.lora_index] = module.number();
  }
  launch_draw_masks(launch, static_cast<cudaStream_t>(context.stream));
  return launch.kept;
}

}  // namespace

void check_kept_masks(const char* op, const LinearGroup& group, std::int64_t rows, ConstTensorView kept) {
  check_matrix(op, "the masks", kept, DType::kU8, rows, group.mask_bytes());
  SHORI_CHECK(kept.stride == kept.cols, std::string(op) + ": rows of the masks have gaps");
}

InputGradientLaunch input_gradient_launch(const OpContext& context, const char* op, ConstTensorView fused_dx,
                                          std::int64_t cols, const std::optional<LoraInputGradient>& lora) {
  check_device_rows(op, "the gradient of a group's input", fused_dx);
  SHORI_CHECK(cols % 8 == 0 && fused_dx.cols >= cols, std::string(op) + ": the gradient has too few columns");
  InputGradientLaunch launch;
  launch.dx = fused_dx.row<Bf16>(0);
  launch.stride = fused_dx.stride;
  launch.rows = fused_dx.rows;
  launch.cols = cols;
  if (!lora) return launch;
  const LinearGroup& group = *lora->group;
  check_group(op, group);
  SHORI_CHECK(group.in() == cols, std::string(op) + ": the LoRA group has another input size");
  check_matrix(op, "the gradient of a group's input", fused_dx, DType::kBf16, fused_dx.rows, group.fused_in());
  SHORI_CHECK(group.rank <= kMaxDeviceRank, std::string(op) + ": the rank is too large for the kernel");
  launch.rank = static_cast<int>(group.rank);
  launch.kept = kept_masks(context, op, *lora, fused_dx.rows);
  launch.mask_scale = lora->dropout.scale();
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    launch.a[module.lora_index] = static_cast<const Bf16*>(module.a);
    ++launch.modules;
  }
  return launch;
}

namespace {

// A matrix as the right operand of a tile product, in the workspace.
const Bf16* packed_columns(const OpContext& context, ConstTensorView matrix) {
  const std::int64_t depth = padded(matrix.rows);
  auto* packed =
      context.workspace->take_array<Bf16>(static_cast<std::size_t>(packed_elements(matrix.rows, matrix.cols)));
  for (std::int64_t col = 0; col < matrix.cols; col += kPanelColumns) {
    pack_panel(matrix.row<Bf16>(0) + col, matrix.stride, matrix.rows, std::min(kPanelColumns, matrix.cols - col),
               packed + col * depth);
  }
  return packed;
}

}  // namespace

InputGradient::InputGradient(const OpContext& context, const char* op, ConstTensorView fused_dx, std::int64_t cols,
                             const std::optional<LoraInputGradient>& lora)
    : dx_(fused_dx), cols_(cols), lora_(lora) {
  check_activation(op, "the gradient of a group's input", fused_dx);
  if (!lora_) {
    SHORI_CHECK(fused_dx.cols >= cols, std::string(op) + ": the gradient of a group's input has too few columns");
    return;
  }
  const LinearGroup& group = *lora_->group;
  check_group(op, group);
  SHORI_CHECK(group.in() == cols, std::string(op) + ": the LoRA group has another input size");
  check_matrix(op, "the gradient of a group's input", fused_dx, fused_dx.dtype, fused_dx.rows, group.fused_in());
  tiles_ = fused_dx.dtype == DType::kBf16 && use_tile_products();
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    const ConstTensorView a{module.a, fused_dx.dtype, group.rank, cols, cols};
    modules_[static_cast<std::size_t>(module_count_++)] = {
        module.number(), tiles_ ? ConstMatrix{} : widened(context, a), tiles_ ? packed_columns(context, a) : nullptr};
  }
  scratch_ = WorkerScratch(context, {kRows * cols, kRows * padded(group.rank)});
}

void InputGradient::load(std::int64_t first, std::int64_t count, std::int64_t worker, float* out) const {
  for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, 0, cols_, out + i * cols_);
  for (std::int64_t index = 0; index < module_count_; ++index) {
    add_lora(modules_[static_cast<std::size_t>(index)], index, first, count, worker, out);
  }
}

void InputGradient::add_lora(const Module& module, std::int64_t lora_index, std::int64_t first, std::int64_t count,
                             std::int64_t worker, float* out) const {
  const std::int64_t rank = lora_->group->rank, column = cols_ + lora_index * rank;
  const auto [product, dxa] = scratch_->of(worker);
  if (tiles_) {
    auto* left = reinterpret_cast<Bf16*>(dxa);
    const std::int64_t depth = padded(rank);
    for (std::int64_t i = 0; i < count; i += kLeftRows) {
      pack_left_rows(dx_.row<Bf16>(first + i) + column, dx_.stride, std::min(kLeftRows, count - i), rank,
                     left + i * depth);
    }
    multiply({.a = left,
              .a_depth = depth,
              .b = module.packed_a,
              .b_depth = depth,
              .rows = count,
              .k = rank,
              .cols = cols_,
              .c = product,
              .c_stride = cols_});
  } else {
    for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, column, rank, dxa + i * rank);
    matmul(dense(dxa, count, rank), module.a, product, cols_);
  }
  const DropoutKey& dropout = lora_->dropout;
  for (std::int64_t i = 0; i < count; ++i) {
    float* row = product + i * cols_;
    if (dropout.probability > 0) drop_row(dropout, module.number, first + i, 0, cols_, row);
    add_scaled_row(dropout.scale(), row, out + i * cols_, cols_);
  }
}

}  // namespace shori
