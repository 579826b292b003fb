// The steps of load_datasets and what they hand on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shori/data/dataset.h"
#include "shori/util/file.h"
#include "src/data/dataset/encode_document.h"
#include "src/data/dataset/ratings.h"
#include "src/data/sources/find_files.h"
#include "src/data/sources/jsonl.h"

namespace shori {

// "path", or "path:line" for a line of a JSONL file.
std::string location_text(const std::string& path, std::uint64_t line, bool is_line);

// Does an item of skip_samples name this conversation: by id, `path` or `path:line`?
bool is_named_by(const std::string& name, const std::string& id, const std::string& path, std::uint64_t line);

// Encodes all documents on options.threads threads, in their order. `done` hears the bytes done so far, from this
// thread.
std::vector<EncodedDocument> encode_documents(std::vector<Document>& documents, const EncodeContext& context,
                                              const std::function<void(std::uint64_t)>& done);

class DatasetLoader {
 public:
  DatasetLoader(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                const DataOptions& options, const Tokenizer* tokenizer, Diagnostics& diagnostics);
  Dataset load();

 private:
  struct LoadedDocument {
    std::uint32_t file = 0, entry = 0;
    std::uint64_t line = 1;
    bool is_line = false;
    bool failed = false;
    Overlong overlong;
    LedgerCounts counts;
    bool skipped = false;
    bool filtered = false;   // by its rating
    bool duplicate = false;  // left out by `dedupe`
    ConversationSketch sketch;
    std::vector<Sample> samples;
  };

  Dataset load_anew();
  // dataset_prepared.cpp
  Dataset load_prepared();
  void hash_files();
  void find_files();
  void read_file(std::uint32_t file);
  void read_lines(std::uint32_t file, const InputFile& input);
  void read_document(std::uint32_t file, const InputFile& input);
  void read_yaml(std::uint32_t file, Document document);
  void refuse_file(std::uint32_t file, Diagnostic problem);
  void add_document(Document document);
  void encode_batch();
  void accept(const Document& document, EncodedDocument encoded);
  void refuse_by_lint(const Document& document, const EncodedDocument& encoded);
  void hold_out();
  void finish();
  void move_samples(std::size_t index);
  // dataset_ratings.cpp
  void read_ratings();
  std::string rating_of(const Document& document, const EncodedDocument& encoded);
  bool filter_rating(const Document& document, EncodedDocument& encoded);
  void report_unused_ratings();
  // dataset_checks.cpp
  void report_overlong();
  void report_unlabelled();
  void check_skip_list();
  // dataset_overlap.cpp
  void compare_conversations();
  void leave_out_copies(Overlap& overlap, const std::vector<std::size_t>& documents);
  void report_close_to_limit();
  std::string fingerprint() const;

  std::vector<DataEntry> entries_;  // test entries behind the others
  std::size_t train_entries_;
  const DataOptions& options_;
  const Tokenizer* tokenizer_;
  Diagnostics& diagnostics_;

  std::vector<FoundFile> found_;
  std::vector<std::uint32_t> entry_of_file_;
  std::set<std::uint32_t> refused_entries_;  // with a file that is too large
  std::uint64_t total_bytes_ = 0, done_bytes_ = 0;

  std::vector<Document> batch_;
  std::size_t batch_bytes_ = 0;

  std::map<std::string, RatingFile> rating_files_;              // of the folders of entries with a filter
  std::set<std::pair<std::string, std::string>> used_ratings_;  // file and name

  std::vector<LoadedDocument> documents_;  // one a conversation
  std::unordered_map<std::string, std::size_t> first_with_id_;
  std::map<std::pair<std::uint32_t, std::string>, std::uint64_t> unknown_keys_;
  Dataset dataset_;
};

}  // namespace shori
