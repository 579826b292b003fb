#include "src/data/documents/filter_ratings.h"

#include <algorithm>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

const RatingFile& rating_file_of(const SourceFile& file, const DataSources& sources) {
  return sources.rating_files.at(parent_path(file.full_path));
}

std::string rating_of(const Document& document, EncodingNotes& notes, const DataSources& sources) {
  if (!document.source.rating.empty()) return document.source.rating;
  const SourceFile& file = sources.files[document.source.file];
  const RatingFile& table = rating_file_of(file, sources);
  for (const std::string& name : {document.source.id, file_name(file.path)}) {
    const auto row = table.ratings.find(name);
    if (row == table.ratings.end()) continue;
    notes.rating_row = row->first;
    return row->second;
  }
  return notes.tags_rating.empty() ? std::string(word_of(Rating::kUnknown)) : notes.tags_rating;
}

}  // namespace

void filter_rating(Document& document, EncodingNotes& notes, const DataSources& sources) {
  const std::vector<std::string>& wanted = sources.entry_of(document.source.file).rating;
  if (wanted.empty() || document.failed) return;
  const std::string rating = rating_of(document, notes, sources);
  if (std::find(wanted.begin(), wanted.end(), rating) != wanted.end()) return;
  LedgerCounts counts;
  counts.bytes_text = document.counts.bytes_text;
  counts.conversations = document.counts.conversations;
  counts.unique = document.counts.unique;
  counts.tokens_in = document.counts.tokens_in;
  counts.dropped[static_cast<std::size_t>(DropRule::kRating)] = counts.tokens_in;
  document.counts = counts;
  document.samples.clear();
  document.overlong = {};
  document.sketch = {};
  document.skipped = false;
  document.filtered = true;
  notes.findings.clear();
}

std::vector<std::string> unused_rating_texts(const DataSources& sources, const DocumentList& list) {
  std::vector<std::string> texts;
  for (const auto& [folder, table] : sources.rating_files) {
    std::size_t unused = 0;
    std::string first;
    for (const auto& [name, rating] : table.ratings) {
      if (list.used_ratings.contains({table.path, name})) continue;
      if (unused++ == 0) first = name;
    }
    if (unused == 0) continue;
    texts.push_back(concat(escape_for_log(table.path), ": ", unused,
                           " names of no conversation that needs a rating, the first `", escape_for_log(first), '`'));
  }
  return texts;
}

}  // namespace shori
