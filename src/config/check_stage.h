// Rules between the keys of one stage.
#pragma once

#include <set>

#include "src/config/settings.h"

namespace shori {

// Which keys do not go together (E0107), runs of 0 steps (E0115); brings lora_target_linear into agreement with
// lora_target_modules. `settings` are those that made `stage`, `unread` the keys among them whose value was refused.
void check_stage(const Settings& settings, const std::set<std::string>& unread, StageConfig& stage,
                 Diagnostics& diagnostics);

// Facts about keys of this stage that have no effect.
std::vector<std::string> stage_notes(const StageConfig& stage);

// E0104 unless a stage of this name can have a folder.
void check_stage_name(const std::string& name, const SourceLocation& place, Diagnostics& diagnostics);

}  // namespace shori
