// Options of the layers below, as a config gives them.
#pragma once

#include "shori/config/train_config.h"
#include "shori/model/lora_adapter.h"
#include "shori/optim/adamw8bit.h"

namespace shori {

LoraSettings lora_settings(const TrainConfig& config);
AdamOptions adam_options(const TrainConfig& config);
DType activation_dtype(const TrainConfig& config);

// Where a stage runs: on the CPU, or on the program's device. `device: auto` is the device wherever the program has
// one.
Device stage_device(const TrainConfig& config);

}  // namespace shori
