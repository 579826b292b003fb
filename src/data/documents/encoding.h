// What the encoders of the kinds of data share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "src/data/documents/encode_document.h"
#include "src/data/sources/jsonl.h"

namespace shori {

// One document while it is encoded.
struct Encoding {
  Document& document;
  EncodingNotes& notes;
  const DataOptions& options;
  const Tokenizer* tokenizer;
  const DataEntry& entry;
  const SourceFile& file;

  bool wants_sketch() const { return options.compare || options.dedupe; }
};

// Each reads document.content, checks it, and makes samples of it. Samples without labels are still among them.
void encode_tokens(Encoding& encoding);      // `type: tokenized`
void encode_completion(Encoding& encoding);  // `type: completion`, a file or a line
void encode_blockml(Encoding& encoding);     // BlockML in a file or a line, or the same as YAML

// The JSONL line that the document is; its id, category and rating go to document.source. nullopt after a problem.
std::optional<DataLine> read_data_line(Encoding& encoding);

// Counts the conversation as a whole, before anything is cut: `unique` ids without BOS and EOS, `length` with them.
// False if `skip_samples` names it, which leaves it out.
bool count_whole(Encoding& encoding, std::int64_t unique, std::int64_t length);

// For a conversation that cannot be cut: drops it under a policy that does so, else notes that it is too long.
void drop_or_refuse(Encoding& encoding, std::int64_t length);

// Numbers the samples of a conversation that was cut.
void number_parts(std::vector<Sample>& samples);

std::int64_t& dropped_tokens(Document& document, DropRule rule);

inline std::int64_t id_count(const std::vector<std::int32_t>& ids) { return static_cast<std::int64_t>(ids.size()); }

}  // namespace shori
