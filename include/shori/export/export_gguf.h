// `shori-export gguf` and `gguf-lora`: files for llama.cpp and the programs made of it.
#pragma once

#include <string>
#include <vector>

#include "shori/export/export_source.h"
#include "shori/export/merge.h"

namespace shori {

enum class GgufModelType { kF32, kF16, kBf16, kQ8_0 };
enum class GgufLoraType { kF32, kF16 };
// Sampling settings in the file, which llama.cpp uses unless its user sets others.
enum class GgufSampling { kMain, kMirostat, kNone };
// Whether `▄` ends a generation.
enum class GgufEot { kBlockEnd, kNone };

struct GgufExport {
  ExportChoice source;  // or a merged model folder, without step and best
  std::string base;     // folder; empty: the one that the run was trained on. Not for a merged model
  std::string out;
  GgufModelType type = GgufModelType::kF16;
  MergeBase merge_base = MergeBase::kOriginal;
  GgufSampling sampling = GgufSampling::kMain;
  GgufEot eot = GgufEot::kBlockEnd;
  std::string name;                    // general.name; empty: the run's recipe, or the merged model's folder
  std::string license, license_link;   // general.license; empty: not said
  std::vector<std::string> languages;  // general.languages; empty: not said
  bool force = false;
};

// Writes base and adapter as one GGUF model: the fp32 sum of the merge (merge.h), rounded once to the written type.
// Peak memory: the adapter and one tensor. E0805 for another base than the adapter's, E0204 for a base with a sliding
// window, E0211 for a tokenizer that llama.cpp would refuse, E0801 if not exactly the adapted tensors changed, E0804 if
// re-reading gives another file or a value does not fit the type, E0803 if a probe of the written weights disagrees with
// base + adapter, E0802 and E0806 as check_target(), E0512 if writing fails.
void export_gguf(const GgufExport& options);

struct GgufLoraExport {
  ExportChoice source;
  std::string base;  // folder, of which config.json is read; empty: the one that the run was trained on
  std::string out;
  GgufLoraType type = GgufLoraType::kF16;
  std::string name;
  bool force = false;
};

// Writes the adapter as a GGUF LoRA adapter. Errors as above.
void export_gguf_lora(const GgufLoraExport& options);

}  // namespace shori
