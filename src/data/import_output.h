// The files an import makes: whether they may be made, and making them.
#pragma once

#include <map>
#include <span>
#include <string>

#include "shori/data/import.h"

namespace shori {

class ImportOutput {
 public:
  // Without `write`, only what stands in the way is found.
  ImportOutput(const ImportOptions& options, bool write) : options_(options), write_(write) {}

  // One conversation as file `stem` + extension. A file of that name with other content is E0806.
  void add(const std::string& stem, const std::string& id, std::span<const Segment> segments, const SourcePlace& place,
           ImportReport& report, Diagnostics& diagnostics);

 private:
  std::string content(const std::string& id, std::span<const Segment> segments) const;
  const ImportOptions& options_;
  bool write_;
  bool folder_made_ = false;
};

}  // namespace shori
