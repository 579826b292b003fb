// The files an import makes: whether they may be made, and making them.
#pragma once

#include <set>
#include <span>
#include <string>

#include "shori/data/import.h"

namespace shori {

class ImportOutput {
 public:
  // Without `write`, only what stands in the way is found.
  ImportOutput(const ImportOptions& options, bool write) : options_(options), write_(write) {}

  // Whether add() will look at more than the name.
  bool needs_content(const std::string& stem) const;
  // One conversation as file `stem` + extension. A file of that name with other content is E0806.
  void add(const std::string& stem, const std::string& id, std::span<const Segment> segments,
           const SourceLocation& place, ImportReport& report, Diagnostics& diagnostics);
  // After the last one: `ratings.yaml`, which says for .blockml files what yaml and jsonl files say themselves.
  void finish(ImportReport& report, Diagnostics& diagnostics);

 private:
  // Makes a file, or finds it there with the same content.
  void make(const std::string& name, const std::string& text, const SourceLocation& place, ImportReport& report,
            Diagnostics& diagnostics);
  bool is_taken(const std::string& name) const;
  std::string content(const std::string& id, std::span<const Segment> segments) const;
  const ImportOptions& options_;
  bool write_;
  bool folder_made_ = false;
  std::set<std::string> names_;  // of files, where a rating is given
};

}  // namespace shori
