// Lint fixes applied to whole data files.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "shori/data/dataset.h"
#include "shori/data/lint.h"
#include "shori/data/yaml_source.h"
#include "shori/util/error.h"

namespace shori {

struct FixedFile {
  std::string path;       // as shown
  std::string full_path;  // as it lies on the disk
  std::string beneath;    // the way down from the entry's folder; of a file named by itself its name
  std::string before, after;
  FixOutcome fixes;
};

// Reads each file of the entries once and hands on what becomes of it. JSONL lines keep every byte but those of the
// text. YAML, completion and tokenized data is handed on as it is, and YAML documents that would need a fix are counted
// in `unfixed`. What does not parse goes to `diagnostics` and is handed on as it is.
struct FixSummary {
  std::size_t unfixed = 0;
};
FixSummary fix_data_files(const std::vector<DataEntry>& entries, const LintOptions& options,
                          const YamlSourceOptions& yaml, const std::function<void(FixedFile)>& hand_on,
                          Diagnostics& diagnostics);

}  // namespace shori
