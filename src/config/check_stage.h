// Rules between the keys of one stage.
#pragma once

#include <set>

#include "src/config/settings.h"

namespace shori {

// Checks which keys do not go together (E0107) and runs of 0 steps (E0115); sets lora_target_linear to whether
// lora_target_modules names all modules. `settings` are those that made `stage`, `refused` the keys with a wrong value.
void check_stage(const Settings& settings, const std::set<std::string>& refused, StageConfig& stage,
                 Diagnostics& diagnostics);

// W0101 for keys of this stage that have no effect, and for an empty `adapter`.
std::vector<Diagnostic> stage_warnings(const StageConfig& stage);

// E0104 unless a stage of this name can have a folder.
void check_stage_name(const std::string& name, const SourceLocation& location, Diagnostics& diagnostics);

}  // namespace shori
