// `shori-export sillytavern`: presets that make SillyTavern write prompts as BlockML, in the folders of its user data.
//
// Made for SillyTavern 1.11.8 and newer: older ones cannot close a block. Key names are those of its preset files.
#pragma once

#include <string>

namespace shori {

inline constexpr char kDefaultModelPattern[] = "/shori/i";

struct SillyTavernExport {
  std::string out;
  // JavaScript regular expression: a model whose id matches selects the instruct preset. Empty: none does.
  std::string model_pattern = kDefaultModelPattern;
  bool force = false;
};
void export_sillytavern(const SillyTavernExport& options);

// E0116 for a pattern that is not one line of UTF-8 text.
void check_model_pattern(const std::string& pattern);

// The same as a new folder without its final name.
void write_sillytavern(const std::string& folder, const std::string& model_pattern);

}  // namespace shori
