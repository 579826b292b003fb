// PEFT adapter folders (adapter_config.json + adapter_model.safetensors): written at the end of a stage and by the
// exporter, read for `init_from`. Source: PEFT 0.10's field set, which later versions load too.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/linear.h"

namespace shori {

class RunFolder;

struct AdapterSettings {
  std::string base_name;  // Hugging Face id or folder name of the base, never a path
  std::int64_t rank = 0;
  std::int64_t alpha = 0;
  double dropout = 0;
  std::vector<std::string> target_modules;  // sorted
};

enum class AdapterDType { kF32, kBf16, kF16 };

// Text of adapter_config.json: keys sorted, indent 2, no final newline. `peft_06`: without the six keys that PEFT 0.6
// does not know.
std::string adapter_config_text(const AdapterSettings& settings, bool peft_06 = false);

// Writes <parent>/<name>/ complete or not at all: temporary folder, sync, read back and compared, rename. `factors` are
// fp32 matrices under PEFT's names ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"). `metadata` goes
// into the safetensors header ("format": "pt" is added). `safe`: what is not lost if writing fails, for the error; empty:
// nothing to say. A finite value that f16 cannot hold is E0804. Returns the SHA-256 of each file by name.
std::map<std::string, std::string> write_adapter_folder(const std::string& parent, const std::string& name,
                                                        const AdapterSettings& settings,
                                                        const std::vector<NamedArray>& factors,
                                                        const std::map<std::string, std::string>& metadata,
                                                        AdapterDType dtype = AdapterDType::kF32, bool peft_06 = false,
                                                        const std::string& safe = "");

// Where an adapter comes from.
struct AdapterSource {
  std::string folder;  // of the file
  std::string file;    // adapter_model.safetensors, or a checkpoint
  bool is_checkpoint = false;
  std::string path() const;
};

// `path`: a finished run folder (else E0510; E0517 if its adapter is not the one that the run wrote), an adapter folder, or
// one checkpoint file. E0510 if there is nothing of the kind.
AdapterSource find_adapter_source(const std::string& path);

// An E0517 for each file in adapter/ of a finished run that is missing, or not the one that `done` (done.json) records.
std::vector<Diagnostic> adapter_changes(const RunFolder& run, const JsonValue& done);

// One factor of a LoRA adapter; the order is that in which factors are written.
struct FactorName {
  std::int64_t layer = 0;
  Linear linear = Linear::kQ;
  bool is_b = false;
  std::string text() const;  // "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
  auto operator<=>(const FactorName&) const = default;
};

// The factor that a tensor's name means, with or without the prefixes of versions and wrappers: `base_model.model.` once,
// twice or not at all, `_orig_mod.`, `module.`, FSDP's and activation checkpointing's, and the adapter's name before
// `.weight`. nullopt for every other name.
std::optional<FactorName> parse_factor_name(std::string_view name);

struct AdapterFile {
  SafetensorsFile file;
  std::map<FactorName, TensorEntry> factors;
  JsonValue manifest;  // of a checkpoint
};

// E0511 lists every tensor that is not a factor, and factors that the file has twice.
AdapterFile open_adapter(const AdapterSource& source);

// What adapter_config.json of a folder says (the linears are those that the file has factors of), or the manifest of a
// checkpoint. E0511 or E0503 if a value is missing; read_adapter() checks the rest.
AdapterSettings settings_of_adapter(const AdapterSource& source, const AdapterFile& adapter);

// What the file, or the manifest of a checkpoint, says of its origin; empty strings where it says nothing (a foreign
// adapter).
struct AdapterOrigin {
  std::string sha256;  // of the file
  std::string base_fingerprint, tokenizer_sha256, config_hash, parent, step;
  std::string stage;  // of a checkpoint
};

// Reads the factors strictly: the file has exactly `factors` (shapes; F32, F16, BF16) under any name that PEFT has used,
// `target_modules` names exactly those modules, and the settings must agree (E0511 lists every difference; target modules,
// r, lora_alpha). Values must be finite (E0210).
AdapterOrigin read_adapter(const AdapterSource& source, const AdapterFile& adapter, const AdapterSettings& settings,
                           const std::vector<NamedArray>& factors);
AdapterOrigin read_adapter(const AdapterSource& source, const AdapterSettings& settings,
                           const std::vector<NamedArray>& factors);

// SHA-256 of the source's file.
std::string adapter_source_sha256(const AdapterSource& source);

}  // namespace shori
