// Ratings of conversations: `ratings.yaml` beside the data, and words of `tags`.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/dataset.h"

namespace shori {

// A file `ratings.yaml`: the id or file name of a conversation -> its rating.
struct RatingFile {
  std::string path;    // for messages
  std::string sha256;  // of the file; empty if there is none
  std::map<std::string, std::string, std::less<>> ratings;
};
// The rating file of `folder`, empty if there is none. Problems with its form are E0312 at file:line:column.
RatingFile read_rating_file(const std::string& folder, const std::string& shown_folder, Diagnostics& diagnostics);

// The rating by the words of all `tags`: explicit wins over pg13, pg13 over unknown. Empty if no word is listed by the
// entry. A listed word matches a whole tag or a word of one, in any case (ASCII).
std::string rating_of_tags(std::span<const Segment> segments, const DataEntry& entry);

}  // namespace shori
