#include "kernels/lora/lora_input.h"

#include "kernels/common/op_checks.h"
#include "kernels/cpu/rows.h"
#include "kernels/linear/frozen_weight.h"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

InputGradientLaunch input_gradient_launch(const char* op, ConstTensorView dx_extended, std::int64_t cols,
                                          const std::optional<LoraInputGradient>& lora) {
  check_device_rows(op, "the gradient of a group's input", dx_extended);
  SHORI_CHECK(cols % 8 == 0 && dx_extended.cols >= cols, std::string(op) + ": the gradient has too few columns");
  InputGradientLaunch launch;
  launch.dx = dx_extended.row<Bf16>(0);
  launch.stride = dx_extended.stride;
  launch.rows = dx_extended.rows;
  launch.cols = cols;
  if (!lora) return launch;
  const LinearGroup& group = *lora->group;
  check_group(op, group);
  SHORI_CHECK(group.in() == cols, std::string(op) + ": the LoRA group has another input size");
  check_matrix(op, "the gradient of a group's input", dx_extended, DType::kBf16, dx_extended.rows,
               cols + group.extension_columns());
  SHORI_CHECK(group.rank <= kMaxDeviceRank, std::string(op) + ": the rank is too large for the kernel");
  launch.rank = static_cast<int>(group.rank);
  launch.mask = DropoutMask(lora->dropout);
  for (const LinearModule& module : group.modules) {
    if (module.slot < 0) continue;
    launch.a[module.slot] = static_cast<const Bf16*>(module.a);
    launch.module[module.slot] = module.number();
    ++launch.slots;
  }
  return launch;
}

InputGradient::InputGradient(const OpContext& context, const char* op, ConstTensorView dx_extended, std::int64_t cols,
                             const std::optional<LoraInputGradient>& lora)
    : dx_(dx_extended), cols_(cols), lora_(lora) {
  check_activation(op, "the gradient of a group's input", dx_extended);
  if (!lora_) {
    SHORI_CHECK(dx_extended.cols >= cols, std::string(op) + ": the gradient of a group's input has too few columns");
    return;
  }
  const LinearGroup& group = *lora_->group;
  check_group(op, group);
  SHORI_CHECK(group.in() == cols, std::string(op) + ": the LoRA group has another input size");
  check_matrix(op, "the gradient of a group's input", dx_extended, dx_extended.dtype, dx_extended.rows,
               cols + group.extension_columns());
  for (const LinearModule& module : group.modules) {
    if (module.slot < 0) continue;
    slots_[static_cast<std::size_t>(slot_count_++)] = {
        module.number(), widened(context, ConstTensorView{module.a, dx_extended.dtype, group.rank, cols, cols})};
  }
  scratch_ = WorkerScratch(context, {kRows * cols, kRows * group.rank});
}

void InputGradient::load(std::int64_t first, std::int64_t count, std::int64_t worker, float* out) const {
  for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, 0, cols_, out + i * cols_);
  for (std::int64_t index = 0; index < slot_count_; ++index) {
    add_slot(slots_[static_cast<std::size_t>(index)], index, first, count, worker, out);
  }
}

void InputGradient::add_slot(const Slot& slot, std::int64_t index, std::int64_t first, std::int64_t count,
                             std::int64_t worker, float* out) const {
  const std::int64_t rank = slot.a.rows;
  const auto [product, dxa] = scratch_->of(worker);
  for (std::int64_t i = 0; i < count; ++i) load_row(dx_, first + i, cols_ + index * rank, rank, dxa + i * rank);
  matmul(dense(dxa, count, rank), slot.a, product, cols_);
  const DropoutKey& dropout = lora_->dropout;
  for (std::int64_t i = 0; i < count; ++i) {
    float* row = product + i * cols_;
    if (dropout.probability > 0) drop_row(dropout, slot.module, first + i, 0, cols_, row);
    add_scaled_row(dropout.scale(), row, out + i * cols_, cols_);
  }
}

}  // namespace shori
