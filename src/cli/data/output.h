// Files that commands of shori-data write: new ones, whole or not at all.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "shori/data/dataset.h"
#include "shori/util/error.h"

namespace shori {

// The file name of a conversation, without extension: its id if the data gives one, else the name of its file with the
// line number.
std::string stem_of(const ReadConversation& conversation);
// Whether the data gives the id; otherwise it is the location.
bool has_own_id(const ReadConversation& conversation);

// New files in a folder. First all are checked, then all are written, so that a problem leaves no file.
class NewFiles {
 public:
  explicit NewFiles(std::string folder) : folder_(std::move(folder)) {}

  // E0318 if two files would have one name, E0807 if a file of that name with other content exists.
  void check(const std::string& name, std::string_view content, const SourceLocation& location,
             Diagnostics& diagnostics);
  // Writes atomically; an existing file with the same content stays.
  void write(const std::string& name, std::string_view content);

  std::size_t written() const { return written_; }
  std::size_t unchanged() const { return unchanged_; }  // that existed with the same content

 private:
  std::string folder_;
  std::map<std::string, std::string> locations_;  // of the data that each name comes from
  std::size_t written_ = 0, unchanged_ = 0;
};

}  // namespace shori
