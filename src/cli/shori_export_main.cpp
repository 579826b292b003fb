// shori-export: what a trained adapter becomes for other programs.
#include "shori/config/load_config.h"
#include "shori/export/export_adapter.h"
#include "shori/export/export_gguf.h"
#include "shori/export/export_release.h"
#include "shori/export/export_sillytavern.h"
#include "shori/export/merge.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/path_option.h"
#include "src/cli/program.h"

namespace shori {

template <>
inline constexpr auto kWords<AdapterDType> = word_list("f32", "bf16", "f16");
template <>
inline constexpr auto kWords<MergeDType> = word_list("bf16", "f16");
template <>
inline constexpr auto kWords<SamplingDefaults> = word_list("none", "main");
template <>
inline constexpr auto kWords<GgufModelType> = word_list("f32", "f16", "bf16", "q8_0");
template <>
inline constexpr auto kWords<GgufLoraType> = word_list("f32", "f16");
template <>
inline constexpr auto kWords<GgufSampling> = word_list("main", "mirostat", "none");
template <>
inline constexpr auto kWords<GgufEot> = word_list("block-end", "none");

namespace {

constexpr auto kOldPeft = word_list("0.6");

void add_source(CLI::App& command, ExportChoice& choice, std::string& out, bool& force) {
  as_path(command.add_option("RUN", choice.run,
                             "a run folder, its adapter/, a PEFT adapter folder, or one checkpoint file"))
      ->required();
  as_path(command.add_option("--out", out, "folder to create"))->required();
  auto* step = command.add_option("--step", choice.step, "the checkpoint of this step");
  command.add_flag("--best", choice.best, "the checkpoint with the lowest evaluation loss")->excludes(step);
  command.add_flag("--force", force, "move a target that is not empty aside");
}

void add_adapter_command(CLI::App& app, AdapterExport& adapter) {
  CLI::App* command = app.add_subcommand("adapter", "a PEFT adapter folder");
  add_source(*command, adapter.source, adapter.out, adapter.force);
  add_choice<AdapterDType>(*command, "--dtype", adapter.dtype, "type of the tensors (default f32)");
  as_path(command->add_option("--base", adapter.base,
                              "also write the tokenizer of this base: its folder, or `org/name` in the Hugging Face "
                              "cache"));
  command->add_option("--base-name", adapter.base_name, "base_model_name_or_path of adapter_config.json");
  add_word_option(*command, "--peft-compat", kOldPeft, "leave out the keys that this old PEFT does not know",
                  [&adapter](std::size_t) { adapter.peft_06 = true; });
  command->footer("Example:  shori-export adapter runs/shori/top-pg13 --out exports/adapter");
  command->callback([&adapter] {
    if (!adapter.base.empty()) adapter.base = find_base_folder("--base", adapter.base);
    export_adapter(adapter);
  });
}

void add_merged_command(CLI::App& app, MergeOptions& merge) {
  CLI::App* command = app.add_subcommand("merged", "a Hugging Face model folder: base and adapter in one");
  add_source(*command, merge.source, merge.out, merge.force);
  as_path(command->add_option("--base", merge.base,
                              "the base model used in training: its folder, or `org/name` in the Hugging Face cache"))
      ->required();
  add_choice<MergeDType>(*command, "--dtype", merge.dtype, "type of the weights (default bf16)");
  add_choice<MergeBase>(*command, "--merge-base", merge.merge_base,
                        "original: the 16-bit weights (default); nf4: the weights that training saw");
  add_choice<SamplingDefaults>(*command, "--sampling", merge.sampling,
                               "main: temperature 1.0 and min-p 0.07 as defaults in generation_config.json");
  command->footer(
      "Example:  shori-export merged runs/shori/top-pg13 --base models/Mistral-7B-Instruct-v0.2 --out exports/merged");
  command->callback([&merge] {
    merge.base = find_base_folder("--base", merge.base);
    export_merged(merge);
  });
}

CLI::Option* add_recorded_base(CLI::App& command, std::string& base) {
  return as_path(command.add_option("--base", base,
                                    "the base model used in training: its folder, or `org/name` in the Hugging Face "
                                    "cache (default: the one that the run records)"));
}

void add_gguf_name(CLI::App& command, std::string& name) {
  const auto is_text = [](const std::string& given) {
    return find_invalid_utf8(given) ? std::string("not UTF-8") : std::string();
  };
  command.add_option("--name", name, "general.name (default: the name of the recipe's folder)")->check(is_text);
}

void add_gguf_command(CLI::App& app, GgufExport& gguf) {
  CLI::App* command = app.add_subcommand("gguf", "a model for llama.cpp: base and adapter in one file");
  add_source(*command, gguf.source, gguf.out, gguf.force);
  command->get_option("RUN")->description(
      "a run folder, its adapter/, a PEFT adapter folder, or one checkpoint file; or a merged model folder");
  command->get_option("--out")->description("file to create");
  add_recorded_base(*command, gguf.base);
  add_choice<GgufModelType>(*command, "--type", gguf.type, "type of the weights (default f16)");
  add_choice<MergeBase>(*command, "--merge-base", gguf.merge_base,
                        "original: the 16-bit weights (default); nf4: the weights that training saw");
  add_choice<GgufSampling>(*command, "--sampling", gguf.sampling,
                           "sampling defaults in the file: main: temperature 1.0 and min-p 0.07 (default); mirostat: "
                           "Mirostat 2.0; none");
  add_choice<GgufEot>(*command, "--gguf-eot", gguf.eot, "block-end: generation ends at `▄` (default); none");
  add_gguf_name(*command, gguf.name);
  command->footer("Example:  shori-export gguf runs/shori/top-pg13 --out export/shori-F16.gguf");
  command->callback([&gguf] {
    if (!gguf.base.empty()) gguf.base = find_base_folder("--base", gguf.base);
    export_gguf(gguf);
  });
}

void add_gguf_lora_command(CLI::App& app, GgufLoraExport& lora) {
  CLI::App* command = app.add_subcommand("gguf-lora", "a LoRA adapter for llama.cpp");
  add_source(*command, lora.source, lora.out, lora.force);
  command->get_option("--out")->description("file to create");
  add_recorded_base(*command, lora.base);
  add_choice<GgufLoraType>(*command, "--type", lora.type, "type of the factors (default f16)");
  add_gguf_name(*command, lora.name);
  command->footer("Example:  shori-export gguf-lora runs/shori/top-pg13 --out export/shori-lora.gguf");
  command->callback([&lora] {
    if (!lora.base.empty()) lora.base = find_base_folder("--base", lora.base);
    export_gguf_lora(lora);
  });
}

void add_model_pattern(CLI::App& command, std::string& pattern) {
  command
      .add_option("--model-pattern", pattern,
                  concat("JavaScript regular expression: backends' models that it matches select the instruct preset "
                         "(default ",
                         kDefaultModelPattern, ")"))
      ->type_name("REGEX");
}

void add_sillytavern_command(CLI::App& app, SillyTavernExport& presets) {
  CLI::App* command = app.add_subcommand("sillytavern", "presets for SillyTavern: context, instruct, samplers");
  as_path(command->add_option("--out", presets.out, "folder to create"))->required();
  add_model_pattern(*command, presets.model_pattern);
  command->add_flag("--force", presets.force, "move a target that is not empty aside");
  command->footer("Example:  shori-export sillytavern --out exports/sillytavern");
  command->callback([&presets] { export_sillytavern(presets); });
}

void add_release_command(CLI::App& app, ReleaseOptions& release) {
  CLI::App* command = app.add_subcommand("release", "everything that is published of a model, with its card");
  add_source(*command, release.source, release.out, release.force);
  as_path(command->add_option("--base", release.base,
                              "the base model used in training: its folder, or `org/name` in the Hugging Face cache"))
      ->required();
  command->add_option("--name", release.name, "of the model, in its card and in file names (default: of the folder)");
  as_path(
      command->add_option("--card", release.card,
                          "YAML file, such as the config of the training, whose `card: {title, summary}` go into the "
                          "card"));
  command
      ->add_option("--license", release.license,
                   "id of the licence in the card (default: that of the base's README.md, else apache-2.0)")
      ->type_name("ID");
  as_path(command->add_option("--license-file", release.license_file, "the text of that licence"));
  command->add_option("--language", release.languages, "of the texts (default en); may be given several times")
      ->allow_extra_args(false);
  command->add_flag("--not-for-all-audiences", release.adult, "add that tag to the card");
  command->add_option("--date", release.date, "date in the card")->type_name("YYYY-MM-DD");
  add_choice<MergeBase>(*command, "--merge-base", release.merge_base,
                        "original: the 16-bit weights (default); nf4: the weights that training saw");
  add_model_pattern(*command, release.model_pattern);
  command->add_flag("!--no-gguf", release.gguf, "leave the files for llama.cpp out");
  command->footer(
      "Example:  shori-export release runs/shori/top-pg13 --base models/Mistral-7B-Instruct-v0.2 --out exports/ShoriRP");
  command->callback([&release] {
    release.base = find_base_folder("--base", release.base);
    export_release(release);
  });
}

}  // namespace
}  // namespace shori

int main(int argc, char** argv) {
  using namespace shori;
  CLI::App app{"shori-export: adapters and merged models for other programs"};
  add_program_options(app, "shori-export");
  app.require_subcommand(1);
  AdapterExport adapter;
  MergeOptions merge;
  add_adapter_command(app, adapter);
  add_merged_command(app, merge);
  GgufExport gguf;
  GgufLoraExport gguf_lora;
  add_gguf_command(app, gguf);
  add_gguf_lora_command(app, gguf_lora);
  SillyTavernExport presets;
  add_sillytavern_command(app, presets);
  ReleaseOptions release;
  add_release_command(app, release);
  return run_program(app, argc, argv);
}
