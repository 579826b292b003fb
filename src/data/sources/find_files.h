// Which files an entry of `datasets` names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shori/config/data_entry.h"

namespace shori {

struct FoundFile {
  std::string full_path;
  std::string path;   // used in ids: the entry's path as written, followed by the path below it
  std::string shown;  // in messages and printed commands: works from the current directory
  DataType type;
  bool lines = false;  // JSONL: each line is a conversation; else the file is one (YAML: each document is one)
};

// The files of an entry in the order of path bytes. A folder is read recursively; hidden files, links to folders and
// files of other kinds are skipped, the last two listed in `skipped`. Globs know *, ?, [abc], [a-z], [!abc], ** (any number of
// folders) and {a,b}, which stands for two paths; a wildcard at the start of a name matches no leading dot. What exists
// under the name as written is never read as a glob. E0315 goes to `diagnostics`: no file, or an unknown type.
std::vector<FoundFile> find_data_files(const DataEntry& entry, std::vector<std::string>& skipped,
                                       Diagnostics& diagnostics);

}  // namespace shori
