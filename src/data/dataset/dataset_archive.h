// A data set as bytes, for the cache of tokenized data (prepared_data.h): numbers in little endian, texts and lists after
// their u64 size, the members of a struct in their order.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shori/data/dataset.h"

namespace shori {

// Without ignored_files, the fingerprint, and what is known of the cache itself.
void append_dataset(const Dataset& dataset, const std::vector<Diagnostic>& warnings, std::string& out);

// False if the bytes are not exactly those of append_dataset(); `dataset` and `warnings` may then be changed.
bool restore_dataset(std::string_view bytes, Dataset& dataset, std::vector<Diagnostic>& warnings);

}  // namespace shori
