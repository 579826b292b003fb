// `shori-export merged`: base and adapter in one Hugging Face model folder, written tensor by tensor.
//
//   W' = round( fp32(W) + (alpha / r) * (B . A) ),  fp32 sums, one rounding to nearest even
// W is the base's 16-bit weight (`original`, as Axolotl's and PEFT's merges take it) or dequantized NF4(W) (`nf4`, the
// weights that training saw). All other tensors are the base's bytes. Shard layout, weight_map and tokenizer are the
// base's; the chat template writes BlockML, and generation ends at `▄` as well.
#pragma once

#include <string>

#include "shori/config/vocabulary.h"
#include "shori/export/export_source.h"

namespace shori {

enum class MergeBase { kOriginal, kNf4 };
template <>
inline constexpr auto kWords<MergeBase> = word_list("original", "nf4");
enum class MergeDType { kBf16, kF16 };
// What generation_config.json says about sampling. kMain: temperature 1.0 and min-p 0.07.
enum class SamplingDefaults { kNone, kMain };

struct MergeOptions {
  ExportChoice source;
  std::string base;
  std::string out;
  MergeDType dtype = MergeDType::kBf16;
  MergeBase merge_base = MergeBase::kOriginal;
  SamplingDefaults sampling = SamplingDefaults::kNone;
  bool force = false;
};

// Peak memory: the adapter and a few chunks of rows; with kNf4 one weight in NF4 as well. E0805 if the base is not the
// one the adapter was trained on, E0801 if not exactly the adapted tensors changed, E0803 if a probe of the written
// weights disagrees with base + adapter, E0804 if re-reading gives other bytes.
void export_merged(const MergeOptions& options);

}  // namespace shori
