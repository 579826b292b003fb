// `shori-export release`: everything that is published of a model, in one folder.
//
//   README.md            model card; message-lengths.svg beside it
//   LICENSE
//   adapter/             as `adapter`
//   merged/              as `merged`
//   gguf/                <name>-F16.gguf, <name>-Q8_0.gguf, <name>-LoRA-F16.gguf
//   sillytavern/         as `sillytavern`
//   shori_export.json    SHA-256 of every file
#pragma once

#include <string>
#include <vector>

#include "shori/export/export_sillytavern.h"
#include "shori/export/merge.h"

namespace shori {

struct ReleaseOptions {
  ExportChoice source;
  std::string base, out;
  std::string name;          // of the model: title and GGUF files; empty: that of the folder
  std::string card;          // YAML file whose `card: {title, summary}` go into the card; empty: none
  std::string license;       // id of the Hugging Face Hub; empty: what the base's card says, else apache-2.0
  std::string license_file;  // its text; empty: the base's file if its licence is taken over, or Apache's
  std::vector<std::string> languages = {"en"};
  bool adult = false;  // tag not-for-all-audiences
  std::string date;    // for the card, YYYY-MM-DD; empty: none
  MergeBase merge_base = MergeBase::kOriginal;
  std::string model_pattern = kDefaultModelPattern;  // see SillyTavernExport
  bool gguf = true;
  bool force = false;
};

// Whole or not at all. The errors are those of the exports it is made of; E0116 for a name, date or
// pattern that is none.
void export_release(const ReleaseOptions& options);

}  // namespace shori
