// From the selected documents to the data set of a stage.
#pragma once

#include <string>
#include <vector>

#include "src/data/documents/document.h"
#include "src/data/documents/sources.h"

namespace shori {

// Deals the samples to train and the held-out sets (`held_out_names`, by Conversation::held_out), and the counts to the
// ledgers of the files. Leaves `fingerprint`, `tokenizer_sha256`, `prepared` and `ignored_files` empty.
Dataset build_dataset(DocumentList list, const DataSources& sources, const std::vector<std::string>& held_out_names);

}  // namespace shori
