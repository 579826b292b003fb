// `shori-export adapter`: a PEFT adapter folder.
#pragma once

#include <string>

#include "shori/export/export_source.h"

namespace shori {

struct AdapterExport {
  ExportChoice source;
  std::string out;
  std::string base;  // model folder whose tokenizer and generation settings are added; empty: none
  AdapterDType dtype = AdapterDType::kF32;
  std::string base_name;  // for adapter_config.json; empty: the name the run recorded
  bool peft_06 = false;   // without the keys PEFT 0.6 refuses
  bool force = false;
};
void export_adapter(const AdapterExport& options);

}  // namespace shori
