// A stage with everything that is known before weights are loaded: its tokenized data, the pack plan, their hashes, and
// the state of its run folder.
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

// A text to continue during training. `name`: in metrics.jsonl.
struct SamplePrompt {
  std::string name, text;
  std::vector<std::int32_t> ids;  // without BOS
};

enum class StageState { kToTrain, kInterrupted, kDone, kChanged };

// Name, config and predecessor are those of the StageConfig.
struct PreparedStage : StageConfig {
  explicit PreparedStage(StageConfig stage);

  RunFolder folder;
  std::string config_hash;
  std::shared_ptr<const BaseModel> base;
  Dataset data;
  PackPlan plan;
  std::string plan_bytes, plan_sha256;
  Ledger ledger;
  std::vector<SamplePrompt> sample_prompts;  // none without `sample_prompts` and `sample_steps`

  std::optional<MemoryPlan> memory;       // of a device; none on the CPU
  std::optional<MemoryPlan> host_memory;  // an estimate, of a stage that a start will train on the CPU

  StageState state = StageState::kToTrain;
  std::uint64_t step = 0;                     // of the newest checkpoint, or of the finished run
  std::vector<Diagnostic> changes;            // differences to the run in the folder (E0504, E0508, E0516, E0517)
  std::optional<std::string> adapter_sha256;  // of the finished adapter
  std::string trained_base;                   // fingerprint of the base that a finished stage was trained on

  // Of the device that trains the stage; none before it was planned.
  const std::optional<MemoryPlan>& planned_memory() const { return memory ? memory : host_memory; }
  std::uint64_t total_steps() const { return plan.steps.size(); }
  // Steps between two lines of one kind in a log: a long run has about a thousand of them.
  std::uint64_t log_interval() const;
};

// Reads, tokenizes and packs the data of every stage. Reuses the tokenized cache of an earlier start, and writes nothing.
// All problems of all stages go to `diagnostics`; the result must not be used if there are errors.
std::vector<PreparedStage> prepare_stages(const LoadedConfig& config, Diagnostics& diagnostics);

// What can be found wrong with bases and data while the config itself has mistakes.
void check_stage_inputs(const LoadedConfig& config, Diagnostics& diagnostics);

// Opens the device if a stage of the config needs one; E0402-E0404, E0407 go to `diagnostics`.
void check_devices(const LoadedConfig& config, Diagnostics& diagnostics);

// Sets the state of each stage from its run folder. Takes no lock, writes nothing. A stage whose predecessor is not done
// counts as changed.
void find_stage_states(std::vector<PreparedStage>& stages);

}  // namespace shori
