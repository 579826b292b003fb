// The files that the entries of `datasets` and `test_datasets` name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shori/data/dataset.h"
#include "src/data/documents/ratings.h"
#include "src/data/sources/find_files.h"

namespace shori {

struct SourceFile : FoundFile {
  std::uint32_t entry = 0;    // index into DataSources::entries
  std::uint64_t size = 0;     // when it was found
  std::string recorded_path;  // see DataFile
};

struct DataSources {
  std::vector<DataEntry> entries;  // test entries after the others
  std::size_t train_entries = 0;
  std::vector<SourceFile> files;                   // entry by entry, each in the order of path bytes, or as recorded
  std::vector<std::string> ignored_files;          // seen in folders, of another kind
  std::map<std::string, RatingFile> rating_files;  // by folder, of the entries with a `rating`

  const DataEntry& entry_of(std::uint32_t file) const { return entries[files[file].entry]; }
  bool is_train(std::uint32_t file) const { return files[file].entry < train_entries; }
  // "path" or "path:line", as location_text().
  std::string location_of(const Conversation& conversation) const;
  // The same for a message.
  std::string shown_location_of(const Conversation& conversation) const;
};

// "path", or "path:line" for a conversation that is a line of its file.
std::string location_text(const std::string& path, std::uint64_t line, bool is_line);

// Does an item of `skip_samples` name the conversation: by id, `path` or `path:line`, as written or as messages show it?
bool is_named_by(const std::string& name, const Conversation& conversation, const SourceFile& file);

// `can_encode_text`: whether there is a tokenizer, or none is needed; else text is E0203 (thrown). Problems with
// entries (E0315) and rating files (E0312) go to `diagnostics`.
DataSources find_sources(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                         bool can_encode_text, Diagnostics& diagnostics);

}  // namespace shori
