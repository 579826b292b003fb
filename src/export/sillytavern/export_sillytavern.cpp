#include "shori/export/export_sillytavern.h"

#include <algorithm>

#include "shori/data/blockml.h"
#include "shori/export/export_source.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/export/export_folder.h"
#include "src/export/sillytavern/presets.h"

namespace shori {
namespace {

// What the user has to know; the file names are those below.
constexpr std::string_view kReadme = R"(# BlockML in SillyTavern

For SillyTavern 1.11.8 and newer, with a text-completion backend. Older versions cannot close a block.

- In one step: *Advanced Formatting* (the letter A), *Master Import*, `BlockML.master.json`.
- Or copy the folders `context`, `instruct`, `sysprompt` and `TextGen Settings` into the folder of your user
  (`data/default-user`) and reload the page.

Then choose context `BlockML`, instruct preset `BlockML`, and a sampler preset. The instruct preset is chosen by itself when the
name of the backend's model matches its `activation_regex`.

| file | what it is |
|---|---|
| `context/BlockML.json` | lore, descriptions, scenario and system prompt as blocks |
| `instruct/BlockML*.json` | messages as blocks; one preset for each length of the answer, `BlockML` is medium |
| `sysprompt/BlockML - reverse jailbreak.json` | makes the model tamer; leave it out if you like |
| `TextGen Settings/ShoriRP *.json` | three sampler settings |

A title and tags have no field: write `▀title`, a new line, the title and `▄`, and the same for `▀tags`, into an author's note
with the position *before prompt*. An author's note with the role *system* becomes `[INST] … [/INST]`.

## Samplers

| preset | settings | backends |
|---|---|---|
| ShoriRP main | temperature 1, min-p 0.07, presence penalty 0.4 | all |
| ShoriRP alternative 1 | temperature 2.45 as the last sampler, min-p 0.4, frequency penalty 0.12 | not KoboldCpp, which has no frequency penalty |
| ShoriRP alternative 2 | Mirostat 2, tau 2.9, eta 0.019 | llama.cpp, KoboldCpp, text-generation-webui |

Penalties look at the last 2048 tokens. A range of 0 would switch them off in llama.cpp and KoboldCpp. vLLM counts only tokens
that it has generated. The only stop string is `▄`.
)";

void write_preset(const std::string& folder, const std::string& kind, const std::string& name, const Json& preset) {
  const std::string target = kind.empty() ? folder : join_path(folder, kind);
  make_directories(target);
  write_file_atomically(target, name + ".json", json_text(preset, 2) + "\n");
}

}  // namespace

void check_model_pattern(const std::string& pattern) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
  if (!find_invalid_utf8(pattern) && std::ranges::none_of(pattern, is_control)) return;
  throw Error(Diagnostic("E0116", concat("`--model-pattern ", escape_for_log(pattern), "` is not one line of text"))
                  .help(concat("--model-pattern ", kDefaultModelPattern)));
}

void write_sillytavern(const std::string& folder, const std::string& model_pattern) {
  make_directories(folder);
  write_preset(folder, "", "BlockML.master", master_preset(model_pattern));
  write_preset(folder, "context", "BlockML", context_preset());
  for (const std::string_view word : kLengthWords) {
    const LengthHint hint = *find_word<LengthHint>(word);
    write_preset(folder, "instruct", instruct_name(hint), instruct_preset(hint, model_pattern));
  }
  write_preset(folder, "sysprompt", "BlockML - reverse jailbreak", system_prompt());
  for (const SamplerPreset preset : kSamplerPresets)
    write_preset(folder, "TextGen Settings", sampler_name(preset), sampler_preset(preset));
  write_file_atomically(folder, "README.md", kReadme);
  write_file_atomically(folder, "shori_export.json", export_record_without_model(digests_of_files(folder)));
}

void export_sillytavern(const SillyTavernExport& options) {
  check_model_pattern(options.model_pattern);
  ExportFolder folder(options.out, {}, options.force);
  write_sillytavern(folder.path(), options.model_pattern);
  folder.publish();
  log_info(concat("wrote ", folder.target(),
                  ": presets for SillyTavern 1.11.8 and newer; its README.md says where they go"));
}

}  // namespace shori
