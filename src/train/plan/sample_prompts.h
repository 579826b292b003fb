// Prompts whose continuations show, during training, what the model writes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"

namespace shori {

// Whether `config` asks for samples.
bool has_samples(const TrainConfig& config);

// Reads the files of `sample_prompts`; without them, the beginning of the first held-out conversation up to its last
// message that leaves room for a reply. Errors go to `diagnostics`: E0203 and the like of a file, E0304 if it is not UTF-8,
// E0409 if a prompt leaves no room in `sequence_len`, E0107 if no held-out conversation has a message.
std::vector<SamplePrompt> read_sample_prompts(const PreparedStage& stage, Diagnostics& diagnostics);

// Tokens that the cache of keys and values holds: of the longest prompt and its reply. 0 without prompts.
std::int64_t sample_context(const PreparedStage& stage);

}  // namespace shori
