// What a run is: the hashes that a resume, a finished stage and the next stage are compared with. Kept in run.json and,
// in part, in done.json and in every checkpoint.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/util/device.h"
#include "shori/util/json.h"

namespace shori {

// Fields known before the weights are read.
struct EarlyIdentity {
  std::string config_hash, data_fingerprint, plan_sha256, tokenizer_sha256, base_headers;
};
EarlyIdentity early_identity(const PreparedStage& stage);

// Known once the weights are loaded.
struct BaseIdentity {
  std::string name;          // Hugging Face id or folder name, never a path
  std::string fingerprint;   // of the 16-bit weights, independent of shards
  std::string nf4_checksum;  // of the frozen weights in memory
};
std::string base_model_name(const BaseModel& base);

// run.json of a stage that begins; `parent` is the SHA-256 of the adapter file it begins from. done.json of one that is
// finished; `best_step` had the lowest evaluation loss.
std::string run_json(const PreparedStage& stage, const BaseIdentity& base, const std::optional<std::string>& parent,
                     Device device);
std::string done_json(const PreparedStage& stage, const BaseIdentity& base, const std::optional<std::string>& parent,
                      std::optional<std::uint64_t> best_step, const std::map<std::string, std::string>& adapter_files);

// What decides bits: on a CPU the instruction-set level that libtorch uses, on a GPU its model and number of
// multiprocessors. A change is E0509.
std::string device_name(Device device);

// What differs between `record` (run.json or done.json) and the stage now: E0504 for each config key, E0508 for data,
// plan, tokenizer, base. Empty: nothing.
std::vector<Diagnostic> identity_changes(const JsonValue& record, const PreparedStage& stage, const std::string& since);

// A string member, or "" if absent or null.
std::string text_member(const JsonValue& object, const char* key);

}  // namespace shori
