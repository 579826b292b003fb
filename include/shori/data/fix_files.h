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
  std::string full_path;  // of the file itself
  std::string relative;   // path below the entry's folder; for a file that the entry names, its name
  std::string before, after;
  FixOutcome fixes;
};

struct FixSummary {
  std::size_t unfixed = 0;  // YAML documents that would need a fix
};

// Reads each file of the entries once and passes the result to `use`. JSONL lines keep every byte but those of the
// text. YAML, completion and tokenized data and texts that do not parse stay as they are; their problems go to
// `diagnostics`.
FixSummary fix_data_files(const std::vector<DataEntry>& entries, const LintOptions& options,
                          const YamlSourceOptions& yaml, const std::function<void(FixedFile)>& use,
                          Diagnostics& diagnostics);

}  // namespace shori
