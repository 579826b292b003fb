// One entry of `datasets` or `test_datasets`: which files, how they are read, and which of their conversations are taken.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "shori/util/error.h"

namespace shori {

// One entry of `datasets` or `test_datasets`.
struct DataEntry {
  std::string path;           // as written: the name in ids, reports and messages
  std::string resolved_path;  // the same file, folder or glob (* ? and **) as an absolute path
  std::string type;           // blockml, blockml_jsonl, blockml_yaml, completion, tokenized; empty: by the extension
  std::string field;          // JSONL member that holds the text; empty: `text`
  std::string category;       // for reports; a line's own `category` wins
  // Only conversations of these ratings; empty: all. A rating is that of the conversation, else that of its id or file
  // name in `ratings.yaml` beside its file, else the first of explicit, pg13, unknown whose words are among its tags,
  // else unknown.
  std::vector<std::string> rating;
  std::array<std::vector<std::string>, 3> tags_rating;  // of pg13, explicit, unknown
  SourceLocation place;                                 // of the entry in the config file
};

}  // namespace shori
