// The figures of the data that a chain of stages was trained on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shori/data/corpus_stats.h"
#include "src/export/release/stage_record.h"

namespace shori {

// Reads the data of all stages again, with the tokenizer of the model folder `base`. nullopt, and a line in the log that
// says why, if files are gone or were changed since, or if there is no message among them.
std::optional<CorpusStats> data_statistics(const std::vector<StageRecord>& stages, const std::string& base);

}  // namespace shori
