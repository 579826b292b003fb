// The values that a stage's adapter and optimizer have before its first step.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shori/model/lora_adapter.h"
#include "shori/optim/adamw8bit.h"
#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"

namespace shori {

// Fills `adapter` with those of `init_from` (a run folder, an adapter folder or a checkpoint), or with fresh random
// factors if that is empty. Returns the SHA-256 of the adapter file. E0505 if the adapter was trained on another base or
// with another tokenizer (`tokenizer_sha256`, empty: none), W0503 if it does not name its base; else the errors of
// find_adapter_source() and read_adapter().
std::optional<std::string> fill_adapter(const TrainConfig& config, const std::string& init_from,
                                        const BaseIdentity& base, const std::string& tokenizer_sha256,
                                        LoraAdapter& adapter, const OpContext& ops);

// What fill_adapter() and carry_optimizer() would refuse of a stage that begins from `init_from`, found before the base is
// read: E0510, E0511, E0210, and E0505 (of the weights with `base_fingerprint`). Without `base` (it has errors of its
// own) only whether there is an adapter.
void check_start_adapter(const TrainConfig& config, const std::string& init_from, const BaseModel* base,
                         const std::function<std::string()>& base_fingerprint = {});

// `optimizer_state: carry`: moments and step count of the checkpoint that the adapter comes from. E0510 if there is
// none, E0511 if its arrays have other shapes.
void carry_optimizer(const std::string& init_from, AdamW8bit& optimizer, const OpContext& ops);

// A copy of each factor's values in host memory.
using FactorValues = std::vector<std::vector<float>>;
FactorValues copy_values(const LoraAdapter& adapter);

}  // namespace shori
