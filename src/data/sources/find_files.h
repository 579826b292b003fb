// Which files an entry of `datasets` names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shori/config/data_entry.h"

namespace shori {

struct FoundFile {
  std::string full_path;
  std::string path;  // shown and used in ids: the entry's path as written, and the way down from it
  DataType type;
  bool lines = false;  // JSONL: one conversation a line; else the file is one conversation (YAML: one a document)
};

// Files of an entry by path bytes. A folder is read recursively: hidden files, links to folders and files of other
// kinds are passed over (the last two named in `passed_over`). Globs know *, ? and ** (any number of folders); a
// wildcard at the start of a name matches no leading dot. Problems (E0315: no file; a type that is not offered or
// cannot be told) go to `diagnostics`.
std::vector<FoundFile> find_data_files(const DataEntry& entry, std::vector<std::string>& passed_over,
                                       Diagnostics& diagnostics);

// Does `name` (no '/') match a pattern of literal characters, * and ?
bool matches_glob(std::string_view pattern, std::string_view name);

}  // namespace shori
