#include "shori/export/export_adapter.h"

#include <ranges>

#include "shori/export/chat_template.h"
#include "shori/export/export_base.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/export/export_folder.h"
#include "src/export/model_extras.h"
#include "src/export/write_exports.h"

namespace shori {
namespace {

// vLLM takes the rank of its largest adapter from a list.
void log_rank(std::int64_t rank) {
  if (rank <= 16) return;
  std::int64_t accepted = 32;
  while (accepted < rank) accepted = accepted == 256 ? 320 : accepted == 320 ? 512 : 2 * accepted;
  if (accepted > 512) return;
  log_info(concat("vLLM accepts ranks of a list only: start it with `--max-lora-rank ", accepted, "`"));
}

// The adapters that the stages began from, the last one first.
std::vector<std::string> parents_of(const std::vector<StageRecord>& stages) {
  std::vector<std::string> parents;
  for (const StageRecord& stage : stages | std::views::reverse)
    if (!stage.parent.empty()) parents.push_back(stage.parent);
  return parents;
}

}  // namespace

std::string revision_of(const std::string& base) {
  return snapshot_id(base).empty() ? "" : file_name(absolute_path(base));
}

CardFacts facts_of(const ExportSource& source, const std::string& title) {
  CardFacts card;
  card.title = title;
  card.base_name = source.settings.base_name;
  card.base_fingerprint = source.base_fingerprint();
  card.languages = {"en"};
  card.stages = read_stage_chain(run_folder_of(source));
  card.adapter = &source;
  return card;
}

void write_with_record(const std::string& folder, const CardFacts& card, std::map<std::string, std::string> files) {
  CardFacts with_files = card;
  with_files.files = files;
  const std::string text = model_card(with_files);
  write_file_atomically(folder, "README.md", text);
  files["README.md"] = to_hex(sha256(text.data(), text.size()));
  write_file_atomically(folder, "shori_export.json",
                        export_record(*card.adapter, {card.base_name, card.base_fingerprint, card.base_revision},
                                      parents_of(card.stages), card.merge_base, files));
}

void write_adapter_export(const AdapterExport& options, const ExportSource& source, const CardFacts& card,
                          const std::string& folder) {
  AdapterSettings settings = source.settings;
  if (!options.base_name.empty()) settings.base_name = options.base_name;
  write_adapter_folder(parent_path(folder), file_name(folder), settings, source.tensors, source.metadata, options.dtype,
                       options.peft_06);
  if (!options.base.empty()) write_model_extras(options.base, folder, SamplingDefaults::kNone);
  write_file_atomically(folder, "chat_template.jinja", kChatTemplate);
  CardFacts facts = card;
  facts.library = "peft";
  facts.base_name = settings.base_name;
  facts.base_fingerprint = source.base_fingerprint();
  facts.base_revision = revision_of(options.base);
  write_with_record(folder, facts, digests_of_files(folder));
}

void export_adapter(const AdapterExport& options) {
  ExportFolder folder(options.out, {options.source.run, options.base}, options.force);
  const ExportSource source = open_export_source(options.source);
  write_adapter_export(options, source, facts_of(source, file_name(folder.target())), folder.path());
  folder.publish();
  log_info(concat("wrote ", folder.target(), ": ", source.tensors.size(), " tensors, rank ", source.settings.rank));
  log_rank(source.settings.rank);
}

}  // namespace shori
