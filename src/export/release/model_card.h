// README.md of an export: front matter for the Hugging Face Hub, then what a person needs to use the model. A section
// whose facts are not known is left out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "shori/data/corpus_stats.h"
#include "shori/export/export_source.h"
#include "src/export/release/card_texts.h"
#include "src/export/release/stage_record.h"

namespace shori {

struct CardFacts {
  std::string title, library;  // library: `peft` or `transformers`
  std::string summary;         // Markdown of the author; empty: none
  std::string base_name, base_fingerprint, base_revision;
  CardLicense license;  // empty: not said
  std::vector<std::string> languages;
  bool adult = false;  // tag not-for-all-audiences
  std::string date;    // empty: none
  std::string merge_base;
  std::vector<StageRecord> stages;
  const ExportSource* adapter = nullptr;
  const CorpusStats* statistics = nullptr;  // with the picture message-lengths.svg beside the card
  std::map<std::string, std::string> files;
};

std::string model_card(const CardFacts& facts);

// Sections about the format and the samplers, from the tables of the parser and of the presets.
std::string usage_sections(const LengthBounds& bounds);

// A YAML scalar: quoted where it would be read as another text or type.
std::string yaml_scalar(const std::string& text);
// A cell of a Markdown table.
std::string table_cell(const std::string& text);

}  // namespace shori
