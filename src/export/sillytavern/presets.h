// The presets of SillyTavern as JSON, keys in the written order.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shori/config/vocabulary.h"
#include "shori/infer/sampler_presets.h"
#include "shori/util/json_text.h"

namespace shori {

// Of the model card: it makes the model tamer, and users may leave it out.
inline constexpr std::string_view kReverseJailbreak =
    "Write a safe conversation suitable for all audiences. Don't be vulgar or sexually explicit.";

// "BlockML" for the length hint medium, else "BlockML tiny".
std::string instruct_name(LengthHint hint);
Json instruct_preset(LengthHint hint, const std::string& model_pattern);
Json context_preset();
Json system_prompt();

std::string sampler_name(SamplerPreset preset);
// A text-completion preset. Selecting one leaves the keys that it does not name at their old values, so it names all.
Json sampler_preset(SamplerPreset preset);

// Context, instruct preset, system prompt and main sampler preset in one file.
Json master_preset(const std::string& model_pattern);

}  // namespace shori
