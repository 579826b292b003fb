// The rating filter: what a conversation is rated, and leaving out those that are not wanted.
#include <algorithm>

#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"

namespace shori {

void DatasetLoader::read_ratings() {
  for (std::uint32_t file = 0; file < found_.size(); ++file) {
    if (entries_[entry_of_file_[file]].rating.empty()) continue;
    const std::string folder = parent_path(found_[file].full_path);
    if (rating_files_.contains(folder)) continue;
    rating_files_[folder] = read_rating_file(folder, parent_path(found_[file].path), diagnostics_);
  }
}

std::string DatasetLoader::rating_of(const Document& document, const EncodedDocument& encoded) {
  if (!encoded.rating.empty()) return encoded.rating;
  const FoundFile& found = found_[document.file];
  RatingFile& table = rating_files_.at(parent_path(found.full_path));
  for (const std::string& name : {encoded.id, file_name(found.path)}) {
    const auto row = table.ratings.find(name);
    if (row == table.ratings.end()) continue;
    used_ratings_.insert({table.path, row->first});
    return row->second;
  }
  return encoded.tags_rating.empty() ? std::string(word_of(Rating::kUnknown)) : encoded.tags_rating;
}

// What is left out counts as read, with all its ids, and as nothing else.
bool DatasetLoader::filter_rating(const Document& document, EncodedDocument& encoded) {
  const std::vector<std::string>& wanted = entries_[document.entry].rating;
  if (wanted.empty() || !encoded.problems.empty()) return false;
  const std::string rating = rating_of(document, encoded);
  if (std::find(wanted.begin(), wanted.end(), rating) != wanted.end()) return false;
  LedgerCounts counts;
  counts.bytes_text = encoded.counts.bytes_text;
  counts.conversations = encoded.counts.conversations;
  counts.unique = encoded.counts.unique;
  counts.tokens_in = encoded.counts.tokens_in;
  counts.dropped[static_cast<std::size_t>(DropRule::kRating)] = counts.tokens_in;
  encoded.counts = counts;
  encoded.samples.clear();
  encoded.overlong = {};
  encoded.findings.clear();
  encoded.sketch = {};
  encoded.skipped = false;
  return true;
}

void DatasetLoader::report_unused_ratings() {
  for (const auto& [folder, table] : rating_files_) {
    std::size_t unused = 0;
    std::string first;
    for (const auto& [name, rating] : table.ratings) {
      if (used_ratings_.contains({table.path, name})) continue;
      if (unused++ == 0) first = name;
    }
    if (unused > 0)
      dataset_.unknown_keys.push_back(escape_for_log(table.path) + ": " + std::to_string(unused) +
                                      " names of no conversation that needs a rating, the first `" +
                                      escape_for_log(first) + "`");
  }
}

}  // namespace shori
