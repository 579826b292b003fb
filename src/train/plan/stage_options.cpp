#include "src/train/plan/stage_options.h"

#include "shori/util/device.h"

namespace shori {

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

DType activation_dtype(const TrainConfig& config) { return config.bf16 ? DType::kBf16 : DType::kF32; }

Device stage_device(const TrainConfig& config) {
  const bool cpu =
      config.device == DeviceChoice::kCpu || (config.device == DeviceChoice::kAuto && device_backend() == "none");
  return cpu ? Device::kCpu : Device::kCuda;
}

}  // namespace shori
