// A conversation on its way from a file to the samples of a Dataset. load_datasets() runs these steps over one list:
//
//   find_sources()       sources.h            entries -> files, and the ratings that stand beside them
//   DocumentReader       read_documents.h     files -> documents, a batch at a time
//   encode_documents()   encode_documents.h   text of a document -> samples, on several threads
//   select_documents()   select_documents.h   which documents are held out or left out; checks of the whole
//   build_dataset()      build_dataset.h      the list -> Dataset
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "shori/data/dataset.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/overlap/overlap.h"

namespace shori {

// Set where the policy for over-long conversations does not accept or cannot cut one.
struct Overlong {
  std::int64_t length = 0;  // ids, BOS and EOS included, of the conversation or of the part that does not fit; 0: fits
  std::int64_t whole = 0;   // of the conversation
  bool is_part() const { return length < whole; }
};

struct Document {
  Conversation source;  // file, line, is_line by the reader; names and hash by the encoder; held_out by selection
  std::string content;  // bytes as they were read; empty once they are encoded
  std::vector<Sample> samples;                // Sample::conversation is set by build_dataset()
  std::vector<std::int64_t> message_lengths;  // tokens of each message's text; empty without BlockML or tokenizer
  LedgerCounts counts;                        // samples, tokens_packed and tokens_held_out are set by build_dataset()
  Overlong overlong;
  ConversationSketch sketch;  // if the options ask for comparisons
  bool failed = false;        // has a problem of its own
  bool skipped = false;       // named by `skip_samples`
  bool filtered = false;      // its rating is not wanted
  bool duplicate = false;     // left out by `dedupe`
};

// In the order of entries, files and lines. A deque, because a data set has many and each takes half a kilobyte: it
// grows without a copy, and build_dataset() frees it from the front.
using Documents = std::deque<Document>;

// How a file was read.
struct ReadFile {
  std::uint64_t size = 0;
  std::string sha256;
  std::int64_t bytes_samples = 0;  // of its conversations
  std::int64_t bytes_between = 0;  // of what separates them, and what normalizing took away (or added: UTF-16)
  TextChanges changes{};           // of the file and of its conversations
  bool refused = false;            // has a problem that kept it, or the rest of it, from being read
};

// The list that the steps work on.
struct DocumentList {
  Documents documents;
  std::vector<ReadFile> files;                                                  // as DataSources::files
  std::map<std::pair<std::uint32_t, std::string>, std::uint64_t> unknown_keys;  // file and member -> lines that have it
  std::set<std::pair<std::string, std::string>> used_ratings;                   // rating file and row
};

}  // namespace shori
