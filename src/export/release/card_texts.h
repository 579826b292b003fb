// Texts for the model card that a person wrote, and what the base says of its licence.
#pragma once

#include <optional>
#include <string>

namespace shori {

// The mapping `card` of a YAML file, such as the config of the training; empty: not given.
struct CardTexts {
  std::string title, summary;
};
// E0108 if there is no such file, E0104 if `card` is not a mapping of texts, E0101 for another key in it.
CardTexts read_card_texts(const std::string& path);

// `license` of the front matter of a model card; `name` and `link` if it is `other`.
struct CardLicense {
  std::string id, name, link;
};
// Of README.md in a model folder; nullopt if there is none, or if it names no licence.
std::optional<CardLicense> read_license_of(const std::string& model_folder);

// The text of the licence that a model folder holds; nullopt if there is none.
std::optional<std::string> read_license_text_of(const std::string& model_folder);

}  // namespace shori
