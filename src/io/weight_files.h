// Which files of a model folder hold its weights.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/json.h"

namespace shori {

inline constexpr char kIndexName[] = "model.safetensors.index.json";
inline constexpr char kSingleName[] = "model.safetensors";

struct WeightFiles {
  std::vector<std::string> names = {};                 // in the folder, sorted
  std::string index_json = {};                         // text of the index; empty for a single file
  std::map<std::string, std::string> weight_map = {};  // tensor -> file; empty for a single file
  std::optional<JsonValue> total_size = {};            // `metadata.total_size` of the index
};

// As transformers does, model.safetensors is taken where there is an index of other files as well: W0202 if those are there,
// too, a line in the log if they are gone. E0201, E0204, E0214 for a broken index; E0202 if there are only pickles; E0203 if
// there is nothing, if shards lie there without an index, or if shards are missing, which are all named.
WeightFiles find_weight_files(const std::string& folder);

// W0201 if `metadata.total_size` of the index is not `bytes`.
void check_total_size(const std::string& folder, const WeightFiles& files, std::uint64_t bytes);

// E0203 for a folder without config.json; says what the folder is if that is clear from its files.
[[noreturn]] void refuse_without_config(const std::string& folder);

}  // namespace shori
