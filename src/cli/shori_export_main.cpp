// shori-export: what a trained adapter becomes for other programs.
#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "shori/export/export_adapter.h"
#include "shori/export/merge.h"
#include "shori/util/build_info.h"
#include "shori/util/log.h"
#include "src/cli/program.h"

namespace shori {
namespace {

void add_source(CLI::App& command, ExportChoice& choice, std::string& out, bool& force) {
  command.add_option("RUN", choice.run, "a run folder, its adapter/, a PEFT adapter folder, or one checkpoint file")
      ->required();
  command.add_option("--out", out, "folder to make")->required();
  auto* step = command.add_option("--step", choice.step, "the checkpoint of this step");
  command.add_flag("--best", choice.best, "the checkpoint with the lowest evaluation loss")->excludes(step);
  command.add_flag("--force", force, "a target that is not empty is moved aside");
}

}  // namespace
}  // namespace shori

int main(int argc, char** argv) {
  using namespace shori;
  CLI::App app{"shori-export: adapters and merged models for other programs"};
  app.set_version_flag("--version", std::string("shori-export ") + version() + " (" + build_id() + ")");
  app.require_subcommand(1);
  bool json_errors = false;
  app.add_flag("--json-errors", json_errors, "errors and warnings as one JSON object a line");

  AdapterExport adapter;
  auto* adapter_command = app.add_subcommand("adapter", "a PEFT adapter folder");
  add_source(*adapter_command, adapter.source, adapter.out, adapter.force);
  const std::map<std::string, AdapterDType> adapter_types = {
      {"f32", AdapterDType::kF32}, {"bf16", AdapterDType::kBf16}, {"f16", AdapterDType::kF16}};
  adapter_command->add_option("--dtype", adapter.dtype, "type of the tensors (default f32)")
      ->transform(CLI::CheckedTransformer(adapter_types));
  adapter_command->add_option("--base-name", adapter.base_name, "base_model_name_or_path of adapter_config.json");
  std::string peft_compat;
  adapter_command->add_option("--peft-compat", peft_compat, "leave out the keys that this old PEFT does not know")
      ->check(CLI::IsMember({"0.6"}));
  adapter_command->footer("Example:  shori-export adapter runs/shori/top-pg13 --out exports/adapter");

  MergeOptions merge;
  auto* merged_command = app.add_subcommand("merged", "a Hugging Face model folder: base and adapter in one");
  add_source(*merged_command, merge.source, merge.out, merge.force);
  merged_command->add_option("--base", merge.base, "the base model folder used in training")->required();
  const std::map<std::string, MergeDType> merge_types = {{"bf16", MergeDType::kBf16}, {"f16", MergeDType::kF16}};
  merged_command->add_option("--dtype", merge.dtype, "type of the weights (default bf16)")
      ->transform(CLI::CheckedTransformer(merge_types));
  const std::map<std::string, MergeBase> merge_bases = {{"original", MergeBase::kOriginal}, {"nf4", MergeBase::kNf4}};
  merged_command
      ->add_option("--merge-base", merge.merge_base,
                   "original 16-bit weights (default), or nf4: those that training saw")
      ->transform(CLI::CheckedTransformer(merge_bases));
  merged_command->footer(
      "Example:  shori-export merged runs/shori/top-pg13 --base models/Mistral-7B-Instruct-v0.2 --out exports/merged");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run_program([&] {
    set_json_errors(json_errors);
    adapter.peft_06 = !peft_compat.empty();
    adapter_command->parsed() ? export_adapter(adapter) : export_merged(merge);
    return 0;
  });
}
