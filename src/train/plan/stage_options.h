// Options of the lower layers from the keys of a config.
#pragma once

#include <cstdint>
#include <string>

#include "shori/config/train_config.h"
#include "shori/model/lora_adapter.h"
#include "shori/optim/adamw8bit.h"
#include "shori/optim/lr_schedule.h"
#include "shori/train/adapter_file.h"

namespace shori {

LoraSettings lora_settings(const TrainConfig& config);
AdamOptions adam_options(const TrainConfig& config);
LrSchedule lr_schedule(const TrainConfig& config, std::uint64_t total_steps);
// What adapter_config.json says of an adapter that is trained with `config`.
AdapterSettings adapter_settings(const TrainConfig& config, const std::string& base_name);
DType activation_dtype(const TrainConfig& config);

// The CPU or the program's device. `device: auto` is the device if the program has one.
Device stage_device(const TrainConfig& config);

}  // namespace shori
