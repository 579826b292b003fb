// The key-value entries of the GGUF files. Source: ggml, docs/gguf.md.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "shori/data/tokenizer_model.h"
#include "shori/export/export_gguf.h"
#include "shori/io/hf_model.h"
#include "src/export/gguf/gguf_file.h"

namespace shori {

using GgufEntries = std::vector<std::pair<std::string, GgufValue>>;

// What a model's file says besides its weights.
struct GgufFacts {
  const HfModelConfig& config;
  const TokenizerModel& tokenizer;
  std::string name;
  std::string base_name;        // `org/name` or a folder's name; empty: unknown
  std::int64_t parameters = 0;  // of all tensors
  GgufModelType type = GgufModelType::kF16;
  GgufSampling sampling = GgufSampling::kMain;
  GgufEot eot = GgufEot::kBlockEnd;
  std::string license = {}, license_link = {};  // empty: not said
  std::vector<std::string> languages = {};
};

// E0211 for a vocabulary that llama.cpp does not load: a piece that is empty or occurs twice.
GgufEntries model_entries(const GgufFacts& facts);

GgufEntries lora_entries(const std::string& name, const std::string& base_name, float alpha);

// "7B", "14M": parameters in whole billions, millions or thousands.
std::string size_label(std::int64_t parameters);

}  // namespace shori
