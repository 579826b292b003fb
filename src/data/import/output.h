// The files that an import writes.
#pragma once

#include <set>
#include <span>
#include <string>

#include "shori/data/import.h"

namespace shori {

class ImportOutput {
 public:
  // Without `write`, only files that are in the way are found.
  ImportOutput(const ImportOptions& options, bool write) : options_(options), write_(write) {}

  // Whether the folder has such a file.
  bool has(const std::string& stem) const;
  // Whether add() will look at more than the name.
  bool needs_content(const std::string& stem) const;
  // Writes one conversation to the file `stem` + extension. A file of that name with other content is E0807.
  void add(const std::string& stem, const std::string& id, std::span<const Segment> segments,
           const SourceLocation& location, ImportReport& report, Diagnostics& diagnostics);
  // After the last conversation: writes `ratings.yaml`, as .blockml files cannot hold their rating.
  void finish(ImportReport& report, Diagnostics& diagnostics);

 private:
  // Writes a file, unless it is there with the same content.
  void write_file(const std::string& name, const std::string& text, const SourceLocation& location,
                  ImportReport& report, Diagnostics& diagnostics);
  bool is_taken(const std::string& name) const;
  std::string content(const std::string& id, std::span<const Segment> segments) const;
  const ImportOptions& options_;
  bool write_;
  bool folder_made_ = false;
  std::set<std::string> names_;  // of files, where a rating is given
};

}  // namespace shori
