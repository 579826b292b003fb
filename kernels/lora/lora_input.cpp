#include "kernels/lora/lora_input.h"

#include "kernels/common/op_checks.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

InputGradientLaunch input_gradient_launch(const char* op, ConstTensorView fused_dx, std::int64_t cols,
                                          const std::optional<LoraInputGradient>& lora) {
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
  launch.mask = DropoutMask(lora->dropout);
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    launch.a[module.lora_index] = static_cast<const Bf16*>(module.a);
    launch.module_index[module.lora_index] = module.number();
    ++launch.modules;
  }
  return launch;
}

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
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    modules_[static_cast<std::size_t>(module_count_++)] = {
        module.number(), widened(context, ConstTensorView{module.a, fused_dx.dtype, group.rank, cols, cols})};
  }
  scratch_ = WorkerScratch(context, {kRows * cols, kRows * group.rank});
}

void InputGradient::load(std::int64_t first, std::int64_t count, std::int64_t worker, float* out) const {
  for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, 0, cols_, out + i * cols_);
  for (std::int64_t index = 0; index < module_count_; ++index) {
    add_lora(modules_[static_cast<std::size_t>(index)], index, first, count, worker, out);
  }
}

void InputGradient::add_lora(const Module& module, std::int64_t lora_index, std::int64_t first, std::int64_t count,
                             std::int64_t worker, float* out) const {
  const std::int64_t rank = module.a.rows;
  const auto [product, dxa] = scratch_->of(worker);
  for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, cols_ + lora_index * rank, rank, dxa + i * rank);
  matmul(dense(dxa, count, rank), module.a, product, cols_);
  const DropoutKey& dropout = lora_->dropout;
  for (std::int64_t i = 0; i < count; ++i) {
    float* row = product + i * cols_;
    if (dropout.probability > 0) drop_row(dropout, module.number, first + i, 0, cols_, row);
    add_scaled_row(dropout.scale(), row, out + i * cols_, cols_);
  }
}

}  // namespace shori
