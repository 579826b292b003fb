// What the run folders of a recipe record about their stages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/util/json.h"

namespace shori {

struct StageRecord {
  std::string name, folder;
  std::string adapter_sha256;  // of the finished adapter; empty: not finished
  std::string parent;          // SHA-256 of the adapter that it began from; empty: a fresh one
  std::string config_hash, data_fingerprint, program, device, tokenizer_sha256;
  std::uint64_t steps = 0;         // of a finished stage
  std::int64_t memory_peak = 0;    // bytes; 0: not recorded
  std::vector<std::string> files;  // SHA-256 of each data file
  JsonValue config;                // canonical_config(), complete

  // The value of a key as YAML, "" if it is not recorded.
  std::string value(const char* key) const;
};

// The stages from the first to that of `run_folder`. A parent is looked for beside the run, then where the config says.
// Shorter where the folder of a parent is gone; empty without a run folder (empty text).
std::vector<StageRecord> read_stage_chain(const std::string& run_folder);

}  // namespace shori
