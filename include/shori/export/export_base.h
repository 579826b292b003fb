// Where the base model of an adapter is.
#pragma once

#include <string>

#include "shori/export/export_source.h"

namespace shori {

// The run folder that the adapter lies in; empty if it lies in none.
std::string run_folder_of(const ExportSource& adapter);

// The folder of the base: `given` if it is not empty, else the one that the run was trained on, else the adapter's base in
// the Hugging Face cache. E0108 if there is none.
std::string find_base_of(const ExportSource& adapter, const std::string& given);

}  // namespace shori
