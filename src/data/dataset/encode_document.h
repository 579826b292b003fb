// One document to samples: the part of loading that runs on several threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/dataset.h"
#include "shori/data/lint.h"
#include "src/data/overlap/overlap.h"
#include "src/data/sources/find_files.h"

namespace shori {

// A document as it was read, with where it came from.
struct Document {
  std::uint32_t file = 0;   // index into Dataset::files
  std::uint32_t entry = 0;  // index into all entries, test entries behind the others
  DataType type = DataType::kBlockml;
  std::uint64_t line = 1;
  bool is_line = false;  // a JSONL line, or one of several YAML documents; else a whole file
  std::string content;
};

// How places in the document's text are told.
TextSource source_of(const Document& document, const std::string& path);

// Why a conversation is over-long in spite of the policy.
struct Overlong {
  std::int64_t length = 0;  // ids with BOS and EOS; of the conversation, or of the part that does not fit
  bool part = false;
};

struct EncodedDocument {
  std::string id, category, text_sha256;
  std::string rating;           // given with the conversation; else empty
  std::string tags_rating;      // what its tags say; empty: nothing
  std::vector<Sample> samples;  // conversation not set yet
  LedgerCounts counts;          // of this conversation; packed and held out are decided later
  Overlong overlong;
  std::vector<std::string> unknown_keys;
  std::vector<Diagnostic> problems;
  bool skipped = false;
  bool lacks_lengths = false;  // see ReadConversation
  ConversationSketch sketch;   // if the options say that conversations are compared
  std::vector<LintFinding> findings;
  // For DataOptions::observe, and where there are findings; else empty.
  std::optional<BlockmlDocument> blocks;
  std::string text;
  std::vector<std::int64_t> message_ids;
};

struct EncodeContext {
  const DataOptions& options;
  const Tokenizer* tokenizer;  // may be null when all data is tokenized, or only parsed
  const std::vector<DataEntry>& entries;
  const std::vector<DataFile>& files;
};

// Pure: the same document gives the same result on any thread.
EncodedDocument encode_document(Document document, const EncodeContext& context);

}  // namespace shori
