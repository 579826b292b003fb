// Encoding on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "src/data/documents/encode_document.h"

namespace shori {

// Encodes the documents in place on options.threads threads; the notes are in their order. `progress` gets the bytes
// done so far, from this thread. Throws Stopped on a signal.
std::vector<EncodingNotes> encode_documents(std::span<Document> documents, const EncodeContext& context,
                                            const std::function<void(std::uint64_t)>& progress);

}  // namespace shori
