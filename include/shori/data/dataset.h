// Loads the data of a run: from files to samples with labels, and a ledger that accounts for every token.
//
// Conversations are numbered in the order of the entries, of the files of an entry (by path bytes), and of the lines of
// a file. The result depends on file contents and options only, never on threads or time stamps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/data_entry.h"
#include "shori/config/vocabulary.h"
#include "shori/data/ledger.h"
#include "shori/data/length_buckets.h"
#include "shori/data/sample.h"
#include "shori/util/error.h"

namespace shori {

class Tokenizer;
struct BlockmlDocument;
struct LintFinding;
struct LintOptions;
struct ReadConversation;

// A data file of a run that exists.
struct RecordedFile {
  std::string path, sha256;
};

struct DataOptions {
  std::int64_t sequence_len = 2048;
  OverlongPolicy overlong = OverlongPolicy::kRaise;  // not read under compat (slices for completion, else drop)
  bool train_on_inputs = false;                      // completion: always all ids; tokenized: the file's labels
  std::vector<std::string> roles_to_train = {"message"};
  bool train_on_eos = true;
  bool train_on_speaker = true;
  bool bos = true;
  EosRule eos = EosRule::kEnd;
  bool repeat_scenario = false;
  bool compat = false;                    // axolotl-2024
  double val_set_size = 0;                // < 1: share (rounded up), >= 1: count; the last conversations in order
  std::vector<std::string> skip_samples;  // conversations to leave out, named by id, `path` or `path:line`
  bool compare = false;                   // look for copies within and between train and evaluation data
  bool allow_overlap = false;             // copies between train and evaluation data are warnings, not errors
  bool warn_with_errors = false;          // report overlap warnings even when other errors were found
  bool dedupe = false;                    // keep only the first of exact copies in train; implies the comparison
  std::int64_t vocab_size = 0;            // of the model; ids are below it
  int threads = 1;                        // for parsing and encoding; the result is the same for any number
  LengthHint default_length = LengthHint::kNone;  // blockml_yaml: of messages that name none
  LengthBuckets length_buckets;                   // for `length: auto`
  // Rules for BlockML conversations; null: none. A finding at level error is an error (E0319). The rules decide what is
  // accepted, never what is trained.
  std::shared_ptr<const LintOptions> lint;
  bool keep_regions = false;  // for Sample::regions
  // Only read and check: nothing is encoded, no sample is made, and no tokenizer is needed.
  bool parse_only = false;
  // Of the run that is to be continued, in its order; empty: none. Files with these contents count as those files,
  // whatever they are called now.
  std::vector<RecordedFile> recorded_files;
  // Cache of the loaded data for the next start; empty: none. It is used if all inputs are the same as when it was
  // written, whatever their paths; the other files of its folder are searched as well. keep_prepared() writes it. Not used
  // with `observe` or `parse_only`.
  std::string prepared_path;
  // Both may be empty and are called from the thread that loads.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
  std::function<void(const ReadConversation&)> observe;  // gets each conversation in order, also one with problems
};

struct Conversation {
  std::string id;          // the `id` member, else `path` or `path:line`
  std::uint32_t file = 0;  // index into Dataset::files
  std::uint64_t line = 1;  // of a JSONL file; the first of a YAML document; 1 for a file that is one conversation
  bool is_line = false;    // a line of a JSONL file, or one of several YAML documents
  std::string category;
  std::string rating;          // as given with the conversation; empty: none
  std::string text_sha256;     // of the canonical text; tokenized: of the ids, then the labels, as int32 little endian
  std::int32_t held_out = -1;  // index into Dataset::held_out; -1: trained
  std::uint8_t left_out = 0;   // a sum of LeftOut
};

// Why a conversation is not trained.
enum LeftOut : std::uint8_t { kSkippedByName = 1, kLeftOutAsCopy = 2, kLeftOutByRating = 4 };

// A conversation as DataOptions::observe gets it: whole, before it is cut or held out. The references are valid during
// the call only.
struct ReadConversation {
  const Conversation& source;  // held_out is not yet known
  std::string_view path;       // of its file, as in ids
  std::string_view shown;      // of its file, for messages
  std::uint32_t entry;         // index into the entries, test entries after the others
  // BlockML without problems; else null. Positions of segments are those in `text`.
  const BlockmlDocument* blocks;
  std::string_view text;                      // as it was read; empty without `blocks`
  std::span<const std::int64_t> message_ids;  // length of each message's text; empty without tokenizer or `blocks`
  std::span<const LintFinding> findings;      // of DataOptions::lint
  std::int64_t unique = 0;                    // ids of the whole text, without BOS and EOS; 0 without tokenizer
  bool lacks_lengths = false;                 // `length: auto` was asked for, but there is no tokenizer
};

struct DataFile {
  std::string path;  // the entry's path as written, followed by the path below it
  std::uint64_t size = 0;
  std::string sha256;
  std::string recorded_path;  // of the same content in DataOptions::recorded_files; else `path`
  std::string shown;          // in messages: works from the current directory
};

// One set for evaluation.
struct HeldOutSet {
  std::string name;  // "val", or the entry's path as written
  std::vector<Sample> samples;
};

// What the cache of a data set says besides the data.
struct PreparedCache {
  std::string path, key;
  std::vector<Diagnostic> warnings;
};

struct Dataset {
  std::vector<Sample> train;  // in conversation order
  std::vector<HeldOutSet> held_out;
  std::vector<Conversation> conversations;
  std::vector<DataFile> files;
  std::vector<FileLedger> file_ledgers;    // one per file; packing is added by build_ledger
  std::vector<std::string> unknown_keys;   // "path: `key` in N lines": members of data lines that are not used
  std::vector<std::string> text_changes;   // what was normalized: "line ends made LF: 12 in 3 files, the first a.txt"
  std::vector<std::string> ignored_files;  // seen in folders, of another kind
  // Tokens of the text of each message, without the speaker, of the conversations that are trained, in their order.
  std::vector<std::uint32_t> message_lengths;
  // SHA-256 (hex) of the conversations and of the options that decide what is trained (src/data/dataset/fingerprint.h).
  std::string fingerprint;
  std::string tokenizer_sha256;        // empty without tokenizer
  std::string prepared;                // with DataOptions::prepared_path: where the data is from, and why, in words
  std::optional<PreparedCache> cache;  // that the next start can use, and that is not written yet

  // "path" or "path:line" of a sample's conversation, followed by "#k/n" if it was split: for messages and
  // skip_samples.
  std::string location_of(const Sample& sample) const;
};

// Reads everything. `tokenizer` may be null if every entry is `tokenized`. The problems of all files are added to
// `diagnostics` (E0301-E0319); the result is then not to be used. Throws Error for files that cannot be read, Stopped
// on a signal.
Dataset load_datasets(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                      const DataOptions& options, const Tokenizer* tokenizer, Diagnostics& diagnostics);

// Writes Dataset::cache, if there is one. Returns what became of it, in words, or "". It is no error if it cannot be written.
std::string keep_prepared(Dataset& dataset);

}  // namespace shori
