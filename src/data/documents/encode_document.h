// One document to samples. Pure, so that documents are encoded on several threads: the same document gives the same
// result on any of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/lint.h"
#include "src/data/documents/document.h"
#include "src/data/documents/sources.h"

namespace shori {

struct EncodeContext {
  const DataOptions& options;
  const Tokenizer* tokenizer;  // may be null when all data is tokenized, or only parsed
  const DataSources& sources;
};

// What encoding finds besides the document itself: reported, then dropped with the batch.
struct EncodingNotes {
  std::vector<Diagnostic> problems;
  std::vector<LintFinding> findings;
  std::vector<std::string> unknown_keys;  // members of its JSONL line that are not used
  TextChanges changes{};                  // in the strings of that line
  std::string tags_rating;                // what its tags say of its rating; empty: nothing
  std::string rating_row;                 // row of the rating file that decided its rating; empty: none did
  bool lacks_lengths = false;             // see ReadConversation
  // For DataOptions::observe, and where there are findings; else empty.
  std::optional<BlockmlDocument> blocks;
  std::string text;
};

// Fills in everything of `document` but its place in the list.
EncodingNotes encode_document(Document& document, const EncodeContext& context);

// How messages name a position in the text of a document.
TextSource text_source_of(const Document& document, const SourceFile& file);

}  // namespace shori
