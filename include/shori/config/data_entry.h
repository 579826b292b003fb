// One entry of `datasets` or `test_datasets`: which files, how to read them, and which conversations to take.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/util/error.h"

namespace shori {

// One entry of `datasets` or `test_datasets`.
struct DataEntry {
  std::string path;           // as written; the name in ids and reports
  std::string resolved_path;  // the same file, folder or glob (* ? and **) from the current directory
  std::string type;           // one of kWords<DataType>; empty: by the extension of each file
  std::string field;          // JSONL member that holds the text; empty: `text`
  std::string category;       // empty: none; a line's own `category` wins
  // Only conversations of these ratings (words of Rating); empty: all. The rating of a conversation is the one written
  // with it, else that of its id or file name in `ratings.yaml` beside its file, else the first of explicit, pg13 and
  // unknown whose words are among its tags, else unknown.
  std::vector<std::string> rating;
  std::array<std::vector<std::string>, kRatings.size()> tags_rating;  // by Rating
  SourceLocation location;                                            // of the entry in the config file
  // Written in a config, from whose folder `path` counts: messages and printed commands show `resolved_path` instead.
  bool in_config = false;
};

// What is_category_name() accepts, in words.
inline constexpr std::string_view kNameRule =
    "at most 64 of a-z, A-Z, 0-9, `-`, `_`, `.` and space; no `.` at the start, no space at either end";

// The published category that `name` most likely means; empty: it is one of them, or a name of its own.
std::string misspelt_category(std::string_view name);

}  // namespace shori
