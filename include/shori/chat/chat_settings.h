// What a reply is made with, as the command line and `/set` name it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "shori/infer/sampler.h"

namespace shori {

struct ReplySettings {
  SamplerSettings sampler = {};
  std::int64_t max_tokens = 1024;
};

// A setting under its name in SillyTavern's presets, with `-` where that has `_`.
struct SettingFlag {
  using Member = std::variant<float SamplerSettings::*, std::int64_t SamplerSettings::*, int SamplerSettings::*,
                              bool SamplerSettings::*>;
  std::string_view name;         // "min-p"
  std::string_view member_name;  // "min_p", as find_setting_problem() has it
  std::string_view meaning;
  Member member;

  std::string preset_name() const;  // "min_p"
  // The value as it is written.
  std::string text(const SamplerSettings& settings) const;
  // E0116 for a text that is no such value. `as` is what the user wrote before it: "--min-p".
  void set(SamplerSettings& settings, std::string_view text, std::string_view as) const;
};

std::span<const SettingFlag> setting_flags();
// By either name; nullptr if there is none.
const SettingFlag* find_setting_flag(std::string_view name);

}  // namespace shori
