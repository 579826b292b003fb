// The GGUF files, complete and verified: `shori-export gguf` and `gguf-lora` publish one, `release` writes several.
#pragma once

#include <string>

#include "shori/export/export_gguf.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/hash.h"

namespace shori {

struct GgufJob {
  const GgufExport& options;    // type, merge_base, sampling, eot, name
  const BaseModel& base;        // the base that the adapter belongs to, or without an adapter a merged model
  const ExportSource* adapter;  // may be null
  bool check_base = false;      // E0805 if the adapter was trained on another base
  Sha256* file_hash = nullptr;  // gets all bytes of the file
};
// Writes `out` (absolute). A file that has the name is moved aside.
void write_gguf_model(const GgufJob& job, const std::string& out);

// The same for a LoRA adapter. `config`: of the base. `options`: type, name.
void write_gguf_lora(const GgufLoraExport& options, const HfModelConfig& config, const ExportSource& adapter,
                     const std::string& out);

// E0204 if llama.cpp cannot compute this base: one with a sliding window.
void check_gguf_base(const BaseModel& base);

// Logs how llama.cpp makes smaller types of the file.
void log_quantize_commands(const std::string& gguf);

// What general.name is without `--name`: the folder of the recipe that the run belongs to.
std::string default_name(const ExportSource& adapter);

}  // namespace shori
