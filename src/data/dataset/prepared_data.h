// A cache of tokenized data for the next start.
//
// File (format 4, little endian): "SHORIPRP" | u32 format | u64 size and text of the key | the data and its warnings |
// SHA-256 of all bytes before. The key is a text of lines `name TAB value` for every input: the program, the tokenizer,
// every option, and type and SHA-256 of every file. The data is used only if the values of all lines are the same. The names
// of files, which begin with a quote, may differ: data that was moved is the same data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/data/dataset.h"
#include "src/data/documents/sources.h"

namespace shori {

// What determines the data.
struct PreparedInputs {
  const DataOptions& options;
  const std::string& tokenizer_sha256;
  const DataSources& sources;
  const std::vector<DataFile>& files;  // with their hashes
};
std::string prepared_key(const PreparedInputs& inputs);

struct PreparedData {
  std::optional<Dataset> dataset;  // without ignored_files
  std::vector<Diagnostic> warnings;
  std::string reason;  // why there is no data set
};
PreparedData read_prepared(const std::string& path, const std::string& key);

// `path`, or another file of its folder if only that one has the key: the cache of a run that has another name now.
std::string find_prepared(const std::string& path, const std::string& key);

// Writes the file atomically. Returns why it could not, or "".
std::string write_prepared(const PreparedCache& cache, const Dataset& dataset);

}  // namespace shori
