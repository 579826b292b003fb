// The adapter that an export begins from: a run folder, its adapter/, a foreign PEFT adapter, or one checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/train/adapter_file.h"

namespace shori {

struct ExportChoice {
  std::string run;                    // as given on the command line
  std::optional<std::uint64_t> step;  // that checkpoint of a run folder
  bool best = false;                  // the pinned checkpoint with the lowest evaluation loss
};

// The factors are held in memory (210 MB at rank 20 on a 7B model).
struct ExportSource {
  AdapterSource file;
  AdapterSettings settings;
  std::vector<NamedArray> tensors;  // layer, then q k v o gate up down, A before B; point into `values`
  std::vector<std::vector<float>> values;
  std::map<std::string, std::string> metadata;  // shori.* provenance; empty for a foreign adapter
  std::string sha256;                           // of the source's file
  std::string stage;
  std::string tokenizer_sha256() const;
  std::string base_fingerprint() const;

  float scaling() const {
    return static_cast<float>(static_cast<double>(settings.alpha) / static_cast<double>(settings.rank));
  }
  // A and B of module `name` ("model.layers.3.mlp.up_proj"); nullptr if it has no adapter.
  const NamedArray* find(const std::string& module, const char* factor) const;
};

// E0510 if there is no such adapter or checkpoint, E0511 if it is not a plain LoRA adapter. Says which file it takes.
ExportSource open_export_source(const ExportChoice& choice);

// What shori_export.json says of the base. `revision`: the commit of a Hugging Face snapshot; empty: not known.
struct RecordedBase {
  std::string name, fingerprint, revision;
};

// Text of shori_export.json. `parents`: SHA-256 of the adapters that the training began from, the last one first; empty:
// what the adapter's file says.
std::string export_record(const ExportSource& source, const RecordedBase& base, std::vector<std::string> parents,
                          const std::string& merge_base, const std::map<std::string, std::string>& files);

// The same for files that no adapter is part of.
std::string export_record_without_model(const std::map<std::string, std::string>& files);

// What an export reads; empty: nothing of the kind.
struct ExportInputs {
  std::string run, base;
};

// Checks the target of an export: E0806 if it exists and is not empty (unless `force`); E0802 inside the base, if it is a
// link or a device, or if moving it aside would move an input or the current folder; E0116 if it is empty. Returns its
// absolute path.
std::string check_target(const std::string& out, const ExportInputs& inputs, bool force);

// Moves a complete temporary folder to its final name. An old target (force) is moved to <out>.old-N first.
void publish_folder(const std::string& temporary, const std::string& out);

}  // namespace shori
