// The folders of the exports, complete and verified but without their final name: `shori-export adapter` and `merged`
// publish one, `release` holds both.
#pragma once

#include <string>

#include "shori/export/export_adapter.h"
#include "shori/export/merge.h"
#include "shori/train/prepared_stage.h"

namespace shori {

// Makes `folder`. `base` is a model folder whose tokenizer is added; empty: none.
void write_adapter_export(const AdapterExport& options, const ExportSource& source, const std::string& folder);

// The 16-bit base of a merge; E0216 if it is NF4.
BaseModel open_base(const std::string& folder);
// Its fingerprint. E0805 if the adapter was trained on another base.
std::string check_base(const BaseModel& base, const ExportSource& source);

// Makes `folder`.
void write_merged_export(const MergeOptions& options, const ExportSource& source, const BaseModel& base,
                         const std::string& fingerprint, const std::string& folder);

}  // namespace shori
