// What a run is: the hashes that a later start compares. run.json has all of them, done.json and every checkpoint some.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/util/device.h"
#include "shori/util/json.h"

namespace shori {

// Known before the weights are read.
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

// What stays the same from the first step of a run to its last, besides what the stage says.
struct RunIdentity {
  BaseIdentity base;
  std::optional<std::string> parent;  // SHA-256 of the adapter file that the run began from; none: a fresh adapter
  Device device = Device::kCpu;
};

// Texts of run.json, written when a stage begins, and of done.json, written when it is finished. `best_step`: the one
// with the lowest evaluation loss. `adapter_files`: SHA-256 of each file of adapter/.
std::string run_json(const PreparedStage& stage, const RunIdentity& identity);
std::string done_json(const PreparedStage& stage, const RunIdentity& identity, std::optional<std::uint64_t> best_step,
                      const std::map<std::string, std::string>& adapter_files);

// A resumed run uses the algorithms of run.json for its large products, so that their sums have the same order; a stage after
// another one takes over which kernel multiplies with frozen weights. What the process has chosen already stays.
enum class RestoredChoices { kAll, kFrozen };
void restore_matmul_choices(const RunFolder& folder, RestoredChoices which);

// Hardware that can change results bit for bit: the SIMD level that libtorch uses on a CPU; model and number of
// multiprocessors of a GPU. Another one than that of the run is E0509.
std::string device_name(Device device);

// What differs between `record` (run.json, done.json or a manifest) and the stage now: E0504 for each config key, E0508 for data,
// plan, tokenizer, base. Empty: nothing.
std::vector<Diagnostic> identity_changes(const JsonValue& record, const PreparedStage& stage, const std::string& since);

// A string member, or "" if absent or null.
std::string text_member(const JsonValue& object, const char* key);

}  // namespace shori
