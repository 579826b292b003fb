// What a chat on a GPU requires, checked before anything is loaded.
#pragma once

#include <optional>

#include "shori/chat/chat_model.h"
#include "shori/io/hf_model.h"
#include "shori/model/lora_adapter.h"

namespace shori {

// Opens the device that the options name; false where that is the CPU. E0404 if there is none, E0116 for a type of base
// that only the CPU computes with.
bool open_device_of(const ChatModelOptions& options);
// E0406 for shapes that a device does not run.
void check_device_shape(const HfModel& model, const std::optional<LoraSettings>& lora);

}  // namespace shori
