#include "src/train/plan/stage_options.h"

#include "shori/util/device.h"

namespace shori {
namespace {

LrShape lr_shape(LrScheduler scheduler) {
  return scheduler == LrScheduler::kConstant ? LrShape::kConstant
         : scheduler == LrScheduler::kLinear ? LrShape::kLinear
                                             : LrShape::kCosine;
}

}  // namespace

LoraSettings lora_settings(const TrainConfig& config) {
  return {config.lora_r, config.lora_alpha, lora_targets(config.lora_target_modules)};
}

AdamOptions adam_options(const TrainConfig& config) {
  AdamOptions options;
  options.beta1 = config.adam_beta1;
  options.beta2 = config.adam_beta2;
  options.eps = config.adam_epsilon;
  options.weight_decay = config.weight_decay;
  const bool compat = config.compat == CompatMode::kAxolotl2024;
  options.block_size = compat ? 2048 : 256;
  options.zero_gradient_guard = config.adam_zero_gradient_guard && !compat;
  return options;
}

LrSchedule lr_schedule(const TrainConfig& config, std::uint64_t total_steps) {
  return {lr_shape(config.lr_scheduler), config.learning_rate, config.warmup_steps,
          static_cast<std::int64_t>(total_steps)};
}

AdapterSettings adapter_settings(const TrainConfig& config, const std::string& base_name) {
  return {base_name, config.lora_r, config.lora_alpha, config.lora_dropout, config.lora_target_modules};
}

DType activation_dtype(const TrainConfig& config) { return config.bf16 ? DType::kBf16 : DType::kF32; }

Device stage_device(const TrainConfig& config) {
  const bool cpu =
      config.device == DeviceChoice::kCpu || (config.device == DeviceChoice::kAuto && device_backend() == "none");
  return cpu ? Device::kCpu : Device::kCuda;
}

}  // namespace shori
