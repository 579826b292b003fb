// The rating filter of an entry.
#pragma once

#include <string>
#include <vector>

#include "src/data/documents/encode_document.h"

namespace shori {

// Leaves out a document whose entry does not want its rating. It still counts as read, with all its ids, and has no
// findings.
void filter_rating(Document& document, EncodingNotes& notes, const DataSources& sources);

// One text per rating file with rows that rated no conversation.
std::vector<std::string> unused_rating_texts(const DataSources& sources, const DocumentList& list);

}  // namespace shori
