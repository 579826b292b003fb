// The base as it is in memory, kept in one file: the next start reads a quarter of the bytes and quantizes nothing.
//
// The file is a sealed file (io/sealed_file.h, magic SHORINF4) with the arrays of every frozen tensor (dense: `<name>`;
// NF4: `<name>.codes`, `.absmax`, `.absmax2`) and `shori.offsets` F32 (one value per linear). The manifest also has the
// fingerprint of the base and what identifies its files. Every bit is checked on reading.
//
// A cache belongs to its base while config.json, the names, sizes and headers of the shards, and inode and modification
// time of each are the same. Shards that agree in all of these count as unchanged: their weights are not read again.
// Where only inode or time differ, as after a copy, the fingerprint of the weights decides. Anything else, damage included, means that the base is quantized again and the file replaced.
#pragma once

#include <optional>
#include <string>

#include "shori/io/hf_model.h"
#include "shori/model/load_mistral.h"
#include "shori/model/mistral_weights.h"

namespace shori {

inline constexpr std::uint64_t kNf4CacheVersion = 1;  // of the format and of the quantization's arithmetic
// A smaller base is quantized in a moment: `auto` keeps no cache of it.
inline constexpr std::uint64_t kNf4CacheFrom = std::uint64_t{1} << 30;

struct Nf4CachePath {
  std::string folder, name;
  std::string path() const;
};
// `setting`: "off"; "auto": .shori-nf4 in the model folder if that can be written (or holds a cache), else
// $XDG_CACHE_HOME or ~/.cache; or a folder, or a file that ends in .safetensors. nullopt: no cache.
std::optional<Nf4CachePath> find_nf4_cache(const std::string& setting, const HfModel& model, DType activation);

// Fills `weights`, which have their memory, from the cache if there is one that fits; otherwise logs why not. After
// false their contents are undefined.
bool read_nf4_cache(const Nf4CachePath& path, const HfModel& model, const LoadOptions& options,
                    MistralWeights& weights);

// Writes the cache of quantized weights. A folder that cannot be written or a full disk is logged, not an error.
void write_nf4_cache(const Nf4CachePath& path, const HfModel& model, MistralWeights& weights, bool on_device);

}  // namespace shori
