// The three settings of the model card.
#pragma once

#include "shori/config/vocabulary.h"
#include "shori/infer/sampler.h"

namespace shori {

enum class SamplerPreset { kMain, kAlternative1, kAlternative2 };
inline constexpr SamplerPreset kSamplerPresets[] = {SamplerPreset::kMain, SamplerPreset::kAlternative1,
                                                    SamplerPreset::kAlternative2};
template <>
inline constexpr auto kWords<SamplerPreset> = word_list("main", "alternative-1", "alternative-2");

constexpr SamplerSettings preset_settings(SamplerPreset preset) {
  switch (preset) {
    case SamplerPreset::kMain:
      return {.min_p = 0.07f, .presence_penalty = 0.4f};
    case SamplerPreset::kAlternative1:
      return {.temperature = 2.45f, .temperature_last = true, .min_p = 0.4f, .frequency_penalty = 0.12f};
    case SamplerPreset::kAlternative2:
      return {
          .temperature_last = true, .penalty_window = 0, .mirostat = 2, .mirostat_tau = 2.9f, .mirostat_eta = 0.019f};
  }
  return {};
}

}  // namespace shori
