// A stage with everything that can be known before weights are loaded: data read and tokenized, packs planned, hashes
// taken, and the state of its run folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shori/config/config_text.h"
#include "shori/config/load_config.h"
#include "shori/data/dataset.h"
#include "shori/data/ledger.h"
#include "shori/data/pack_plan.h"
#include "shori/data/tokenizer.h"
#include "shori/io/hf_model.h"
#include "shori/train/memory_plan.h"
#include "shori/train/run_folder.h"

namespace shori {

// The model folder of one or more stages: headers checked, no weight read.
struct BaseModel {
  std::string folder;
  std::unique_ptr<HfModel> model;
  std::unique_ptr<Tokenizer> tokenizer;  // null if the folder has none and no stage needs it
};

enum class StageState { kToTrain, kInterrupted, kDone, kChanged };

struct PreparedStage {
  StageConfig stage;
  RunFolder folder{""};
  std::shared_ptr<const BaseModel> base;
  Dataset data;
  PackPlan plan;
  std::string plan_bytes, plan_sha256;
  Ledger ledger;
  std::string config_hash;

  std::optional<MemoryPlan> memory;  // where it trains on a device

  StageState state = StageState::kToTrain;
  std::uint64_t step = 0;                     // of the newest checkpoint, or of the finished run
  std::vector<Diagnostic> changes;            // what differs from the run in the folder (E0504, E0505, E0508)
  std::optional<std::string> adapter_sha256;  // of the finished adapter

  std::uint64_t total_steps() const { return plan.steps.size(); }
};

// Reads the data of every stage and plans it; tokenized data of an earlier start is taken, and that of this one kept if
// `keep_prepared`. All problems of all stages go to `diagnostics`; the result is not to be used if there are errors.
std::vector<PreparedStage> prepare_stages(const LoadedConfig& config, bool keep_prepared, Diagnostics& diagnostics);

// Looks at each stage's run folder (no lock, nothing written). A stage whose predecessor will be trained anew counts as
// changed.
void find_stage_states(std::vector<PreparedStage>& stages);

// The table shown before anything loads: stage, conversations, tokens, packs, steps, learning rate, state.
std::string stage_table(const std::vector<PreparedStage>& stages);

}  // namespace shori
