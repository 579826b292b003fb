// Paths of data that lie elsewhere: addresses, and data sets of the Hugging Face Hub.
#pragma once

#include "shori/config/data_entry.h"
#include "shori/util/error.h"

namespace shori {

// Adds the command that downloads what `path` of the entry names. False for a path of this machine.
bool add_download_help(Diagnostic& problem, const DataEntry& entry);

}  // namespace shori
