// What is decided, and what can only be checked, once all documents are read.
#pragma once

#include <string>
#include <vector>

#include "src/data/documents/document.h"
#include "src/data/documents/sources.h"

namespace shori {

// Sets Conversation::held_out, leaves out copies if the options ask for it, and adds the problems of the data as a
// whole to `diagnostics`: E0305, E0306, E0307, E0315, W0301 to W0303. Returns the names of the held-out sets by number:
// "val", then the paths of the test entries.
std::vector<std::string> select_documents(DocumentList& list, const DataSources& sources, const DataOptions& options,
                                          Diagnostics& diagnostics);

// The steps of select_documents(), in its order.

// `val_set_size` takes the last conversations of `datasets`; test entries all of theirs.
std::vector<std::string> hold_out(Documents& documents, const DataSources& sources, double val_set_size);

// Compares conversations within and between train and the held-out sets. With `dedupe` the first of exact copies in
// train is kept.
void compare_documents(Documents& documents, const std::vector<std::string>& held_out_names, const DataSources& sources,
                       const DataOptions& options, Diagnostics& diagnostics);

void report_overlong(const Documents& documents, const DataSources& sources, const DataOptions& options,
                     Diagnostics& diagnostics);
// Entries without a trained token, and a selection that leaves nothing to train.
void report_untrained(const DocumentList& list, const DataSources& sources, Diagnostics& diagnostics);
void report_unknown_skips(const Documents& documents, const DataSources& sources, const DataOptions& options,
                          Diagnostics& diagnostics);
// Samples that another policy for BOS or EOS would make too long.
void report_close_to_limit(const Documents& documents, const DataSources& sources, const DataOptions& options,
                           Diagnostics& diagnostics);

}  // namespace shori
