// The manifest of a checkpoint: what a run is, and how far it has come. With the tensors it is all that a resume needs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "src/train/step/guards.h"

namespace shori {

// What changes with each step, besides the tensors.
struct TrainingState {
  std::uint64_t step = 0;                    // the last completed one; 0 before the first
  std::uint64_t adam_step = 0;               // t of the optimizer; begins above 0 under `optimizer_state: carry`
  std::int64_t tokens = 0, targets = 0;      // trained so far
  std::vector<std::int64_t> tokens_of_file;  // the same tokens for each file of the data
  Guards guards;
};
TrainingState initial_state(const PreparedStage& stage);

struct Manifest {
  TrainingState state;
  std::uint64_t metrics_bytes = 0;  // length and hash of metrics.jsonl, which is cut to it on a resume
  std::string metrics_sha256;
};

// Everything but the member `tensors`, the SHA-256 of each, which the checkpoint adds. Written as canonical JSON.
Json manifest_json(const PreparedStage& stage, const RunIdentity& identity, const Manifest& manifest);

// An upper bound for the text of every manifest of the run, as CheckpointStore::set_manifest_bytes() wants it: its
// length before step 1, with room for the counts of the files to grow.
std::size_t manifest_bytes(const PreparedStage& stage, const RunIdentity& identity);

// The changing part of a manifest of `stage`. E0503 if a member is missing, E0504 if it is another run's.
Manifest read_manifest(const JsonValue& json, const PreparedStage& stage);

}  // namespace shori
