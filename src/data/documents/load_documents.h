// Reading and encoding of all files.
#pragma once

#include "src/data/documents/document.h"
#include "src/data/documents/sources.h"

namespace shori {

// All documents with their samples. They are read and encoded in batches, so that no more than one batch of text is
// held at a time. Problems of documents and files go to `diagnostics` in the order of files and lines, and
// DataOptions::observe is called in that order.
DocumentList load_documents(const DataSources& sources, const DataOptions& options, const Tokenizer* tokenizer,
                            Diagnostics& diagnostics);

}  // namespace shori
