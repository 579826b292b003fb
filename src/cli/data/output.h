// Files that commands of shori-data write: new ones, whole or not at all.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "shori/data/dataset.h"
#include "shori/util/error.h"

namespace shori {

// The file name of a conversation, without extension: its id if one is written, else its file's name, with the number
// of the line.
std::string stem_of(const ReadConversation& conversation);
// Whether the id is one that the data gives, not the place.
bool has_own_id(const ReadConversation& conversation);

// New files in a folder. First all are checked, then all are written, so that a problem leaves no file.
class NewFiles {
 public:
  explicit NewFiles(std::string folder) : folder_(std::move(folder)) {}

  // E0318 where two have one name, E0806 where a file of that name with other content is there.
  void check(const std::string& name, std::string_view content, const SourceLocation& place, Diagnostics& diagnostics);
  // Atomically; a file that is there with the same content stays.
  void write(const std::string& name, std::string_view content);

  std::size_t written() const { return written_; }

 private:
  std::string folder_;
  std::map<std::string, std::string> places_;  // of the names
  std::size_t written_ = 0;
};

}  // namespace shori
