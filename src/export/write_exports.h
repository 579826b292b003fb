// The folders of the exports, complete and verified but without their final name: `shori-export adapter` and `merged`
// publish one, `release` holds both.
#pragma once

#include <map>
#include <string>

#include "shori/export/export_adapter.h"
#include "shori/export/merge.h"
#include "shori/train/prepared_stage.h"
#include "src/export/release/model_card.h"

namespace shori {

// What a card says of any export: the adapter, its stages, and a title.
CardFacts facts_of(const ExportSource& source, const std::string& title);

// The commit of a snapshot in the Hugging Face cache; empty for every other folder.
std::string revision_of(const std::string& base);

// Makes `folder`.
void write_adapter_export(const AdapterExport& options, const ExportSource& source, const CardFacts& card,
                          const std::string& folder);

// Writes README.md and shori_export.json, the last files of an export. `files` has the SHA-256 of all others.
void write_with_record(const std::string& folder, const CardFacts& card, std::map<std::string, std::string> files);

// The 16-bit base of a merge; E0216 if it is NF4.
BaseModel open_base(const std::string& folder);
// E0511 if the shapes of the adapter's factors are not those of the base; E0805 if the adapter was trained on another one,
// which has then to be read, or with another tokenizer.model. Called before anything is written.
void check_fits(const BaseModel& base, const ExportSource& source);
// The fingerprint of the base, from the SHA-256 of its tensors by name; a tensor whose digest is missing is read. E0805 if
// the adapter was trained on another base.
std::string check_base(const BaseModel& base, const ExportSource& source,
                       const std::map<std::string, Sha256Digest>& digests);

// Makes `folder`. E0805 if the adapter was trained on another base.
struct MergedExport {
  std::string base_fingerprint;
  std::map<std::string, std::string> files;  // SHA-256 of the files with weights, by name
};
MergedExport write_merged_export(const MergeOptions& options, const ExportSource& source, const BaseModel& base,
                                 const CardFacts& card, const std::string& folder);

}  // namespace shori
