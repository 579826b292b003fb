#include "shori/export/export_base.h"

#include "shori/config/hub_cache.h"
#include "shori/train/run_folder.h"
#include "shori/train/run_identity.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr int kFoldersAbove = 3;  // run/checkpoints/pinned/step-000118.safetensors

// As run.json has it.
std::string recorded_base(const ExportSource& adapter) {
  const std::string run = run_folder_of(adapter);
  const auto record = run.empty() ? std::nullopt : RunFolder(run).read_run();
  const JsonValue* config = record ? record->find("config") : nullptr;
  return config ? text_member(*config, "base_model") : "";
}

}  // namespace

std::string run_folder_of(const ExportSource& adapter) {
  std::string folder = absolute_path(adapter.file.folder);
  for (int i = 0; i < kFoldersAbove; ++i, folder = parent_path(folder))
    if (path_exists(join_path(folder, "run.json"))) return folder;
  return "";
}

std::string find_base_of(const ExportSource& adapter, const std::string& given) {
  if (!given.empty()) return given;
  const std::string recorded = recorded_base(adapter), &name = adapter.settings.base_name;
  if (!recorded.empty() && is_directory(recorded)) return recorded;
  if (is_model_id(name))
    if (const HubModel cached = find_hub_model(name); !cached.folder.empty()) return cached.folder;
  Diagnostic missing("E0108", "the base model of this adapter is not known here");
  missing.at(adapter.file.path());
  if (!recorded.empty()) missing.note("no folder " + quoted_path(recorded) + ", which run.json names");
  if (!name.empty()) missing.note("the adapter names it `" + name + "`");
  throw Error(missing.help("name its folder, or its id in the Hugging Face cache, with `--base`"));
}

}  // namespace shori
