// The local Hugging Face cache, by the rules of huggingface_hub. Nothing is ever downloaded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// `org/name`, as the Hub names models.
bool is_model_id(std::string_view text);

// Whether `path`, relative to `folder`, is likely a data set of the Hub: `org/name` that is not the name of a file, where
// there is not even a folder `org`. Data sets are not looked for in the cache.
bool is_hub_data(const std::string& path, const std::string& folder);
// The command that downloads a data set of the Hub into the folder `into`.
std::string hub_data_command(const std::string& id, const std::string& into);

// The first eight names of a folder, escaped for a message: "a, b, and 12 more".
std::string first_names(std::vector<std::string> names);

// The folders that hold cached models, the one that huggingface_hub uses first: the variable HF_HUB_CACHE, else
// HUGGINGFACE_HUB_CACHE (its old name), else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub. `~` and variables in these values are expanded. TRANSFORMERS_CACHE follows if it is set:
// transformers before version 5 keeps models there.
std::vector<std::string> hub_caches();

// A model id in the cache. Exactly one of `folder` and `problem` is set.
struct HubModel {
  std::string folder;   // the snapshot
  std::string problem;  // why there is none: "not in the Hugging Face cache: ..."
  std::string help;     // what to do about it
  std::string note;     // a fact to show beside a folder that was found in an unusual way, or empty
};

// The snapshot that refs/main names; without that file, as after a download of one revision, the only snapshot. Problems:
// the model is not there, its snapshot is missing or has links to blobs that are missing, or there are several snapshots
// and no refs/main.
HubModel find_hub_model(const std::string& id);

}  // namespace shori
