// adapter_config.json of a PEFT adapter, read strictly.
#pragma once

#include <string>

#include "shori/train/adapter_file.h"

namespace shori {

// E0511 unless the config in `folder` says what `settings` and the tensors of `adapter` say, and nothing that this program
// does not do. All problems are one Error.
void check_adapter_config(const std::string& folder, const AdapterFile& adapter, const AdapterSettings& settings);

}  // namespace shori
