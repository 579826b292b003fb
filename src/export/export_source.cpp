#include "shori/export/export_source.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "shori/config/vocabulary.h"
#include "shori/io/safetensors.h"
#include "shori/train/checkpoint.h"
#include "shori/train/run_folder.h"
#include "shori/util/build_info.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

AdapterSource checkpoint_of_step(const RunFolder& run, std::uint64_t step) {
  for (const std::string& folder : {run.checkpoints(), run.pinned(), run.requested()})
    if (path_exists(join_path(folder, checkpoint_name(step)))) return {folder, checkpoint_name(step), true};
  throw Error(Diagnostic("E0510", concat("no checkpoint of step ", step, " in ", run.checkpoints())));
}

std::uint64_t newest_step(const RunFolder& run) {
  if (const auto newest = run.newest_checkpoint()) return *newest;
  throw Error(Diagnostic("E0510", "no checkpoint in " + run.checkpoints()));
}

// The newest checkpoint that is whole. E0503 if none is.
AdapterSource newest_whole_checkpoint(const RunFolder& run) {
  std::vector<std::uint64_t> steps;
  for (const std::string& name : list_directory(run.checkpoints()))
    if (const auto step = checkpoint_step(name)) steps.push_back(*step);
  std::ranges::sort(steps, std::greater());
  for (const std::uint64_t step : steps) {
    try {
      (void)open_checkpoint(run.checkpoints(), checkpoint_name(step), true);
      log_info(concat("the run is not finished: exporting step ", step));
      return {run.checkpoints(), checkpoint_name(step), true};
    } catch (const Error& error) {
      if (error.code() != "E0503" || step == steps.back()) throw;
      log_info(concat("the checkpoint of step ", step, " is damaged: ", error.diagnostics().front().message));
    }
  }
  throw Error(Diagnostic("E0510", "no checkpoint in " + run.checkpoints()));
}

// The step with the lowest evaluation loss: done.json knows it, in a run that is not finished the newest checkpoint.
std::optional<std::uint64_t> best_step(const RunFolder& run) {
  if (const auto done = run.read_done())
    if (const JsonValue* best = done->find("best_step")) return best->as_unsigned();
  const SealedFile checkpoint = open_checkpoint(run.checkpoints(), checkpoint_name(newest_step(run)), false);
  const JsonValue* guards = checkpoint.manifest.find("guards");
  const JsonValue* best = guards ? guards->find("best_step") : nullptr;
  return best ? best->as_unsigned() : std::nullopt;
}

// That one is pinned, or still among the rolling ones.
AdapterSource best_checkpoint(const RunFolder& run) {
  const auto step = best_step(run);
  if (!step)
    throw Error(Diagnostic("E0510", "this run has no best checkpoint: nothing was evaluated")
                    .help("`test_datasets` or `val_set_size`"));
  return checkpoint_of_step(run, *step);
}

[[noreturn]] void refuse_without_checkpoints(const std::string& path) {
  Diagnostic problem("E0510", "`--step` and `--best` need a run folder: " + path);
  std::vector<std::string> stages;
  for (const std::string& folder : stage_folders_in(path)) stages.push_back(quoted_path(folder));
  if (!stages.empty()) problem.help("name one of the stages in it: " + join_words(stages));
  throw Error(problem);
}

AdapterSource choose_file(const ExportChoice& choice) {
  const RunFolder run(choice.run);
  const bool is_run = is_directory(choice.run) && is_directory(run.checkpoints());
  if (!is_run && (choice.step || choice.best)) refuse_without_checkpoints(choice.run);
  if (!is_run) return find_adapter_source(choice.run);
  if (choice.step) return checkpoint_of_step(run, *choice.step);
  if (choice.best) return best_checkpoint(run);
  if (run.read_done()) return find_adapter_source(choice.run);
  return newest_whole_checkpoint(run);
}

// Name, shape and room for the values of all factors, in the written order.
void list_factors(const AdapterFile& adapter, ExportSource& source) {
  for (const auto& [name, entry] : adapter.factors) {
    source.values.emplace_back(static_cast<std::size_t>(entry.shape[0] * entry.shape[1]));
    source.tensors.push_back({name.text(), FileDType::kF32, entry.shape, source.values.back().data()});
  }
}

std::string metadata_value(const ExportSource& source, const char* key) {
  const auto found = source.metadata.find(key);
  return found == source.metadata.end() ? "" : found->second;
}

std::string real_path(const std::string& path) {
  std::error_code error;  // a path that cannot be looked at is refused where it is made
  const std::string real = std::filesystem::weakly_canonical(absolute_path(path), error).string();
  return error ? absolute_path(path) : real;
}

// Both real paths. Whether `path` is `folder` or lies in it.
bool is_in(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder.ends_with('/') ? folder : folder + "/");
}

}  // namespace

std::string ExportSource::tokenizer_sha256() const { return metadata_value(*this, "shori.tokenizer_sha256"); }
std::string ExportSource::base_fingerprint() const { return metadata_value(*this, "shori.base_fingerprint"); }

const NamedArray* ExportSource::find(const std::string& module, const char* factor) const {
  const std::string name = concat(kPrefix, module, ".", factor, ".weight");
  for (const NamedArray& tensor : tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

ExportSource open_export_source(const ExportChoice& choice) {
  ExportSource source;
  source.file = choose_file(choice);
  log_info("adapter: " + source.file.path());
  const AdapterFile adapter = open_adapter(source.file);
  source.settings = settings_of_adapter(source.file, adapter);
  list_factors(adapter, source);
  const AdapterOrigin origin = read_adapter(source.file, adapter, source.settings, source.tensors);
  source.sha256 = origin.sha256;
  source.stage = origin.stage;
  if (!origin.base_fingerprint.empty())
    source.metadata = {{"shori.base_fingerprint", origin.base_fingerprint},
                       {"shori.tokenizer_sha256", origin.tokenizer_sha256},
                       {"shori.config_hash", origin.config_hash},
                       {"shori.parent", origin.parent},
                       {"shori.step", origin.step}};
  if (source.metadata.empty())
    log_warning(Diagnostic("W0503", "the adapter does not say which base it was trained on: " + source.file.path()));
  return source;
}

std::string export_record(const ExportSource& source, const RecordedBase& base, std::vector<std::string> parents,
                          const std::string& merge_base, const std::map<std::string, std::string>& files) {
  const std::string parent = metadata_value(source, "shori.parent");
  if (parents.empty() && !parent.empty()) parents.push_back(parent);
  const Json json = {{"format", "shori-export/1"},
                     {"program", version()},
                     {"base",
                      {{"name", base.name},
                       {"fingerprint", text_or_null(base.fingerprint)},
                       {"revision", text_or_null(base.revision)}}},
                     {"adapter",
                      {{"sha256", source.sha256},
                       {"config_hash", text_or_null(metadata_value(source, "shori.config_hash"))},
                       {"stage", text_or_null(source.stage)},
                       {"step", text_or_null(metadata_value(source, "shori.step"))},
                       {"parents", parents}}},
                     {"merge_base", text_or_null(merge_base)},
                     {"files", files}};
  return json_text(json, 2) + "\n";
}

std::string export_record_without_model(const std::map<std::string, std::string>& files) {
  const Json json = {{"format", "shori-export/1"}, {"program", version()},  {"base", nullptr},
                     {"adapter", nullptr},         {"merge_base", nullptr}, {"files", files}};
  return json_text(json, 2) + "\n";
}

std::string check_target(const std::string& out, const ExportInputs& inputs, bool force) {
  if (out.empty()) throw Error(Diagnostic("E0116", "the target has no name").help("`--out export/MyModel`"));
  const std::string target = absolute_path(out);
  const auto refuse = [&](const std::string& why) {
    throw Error(Diagnostic("E0802", concat("the target ", why, ": ", out)).help("name another folder"));
  };
  if (is_symlink(target)) refuse("is a link");
  const std::string real_target = real_path(target);
  if (!inputs.base.empty() && is_in(real_target, real_path(inputs.base))) refuse("lies inside the base model folder");
  if (!path_exists(target) || (is_directory(target) && list_directory(target).empty())) return target;
  if (!is_directory(target) && !std::filesystem::is_regular_file(target)) refuse("is neither a file nor a folder");
  if (!force)
    throw Error(Diagnostic("E0806", "the target exists and is not empty: " + out)
                    .help("another name, or `--force`, which moves it aside"));
  if (!inputs.base.empty() && is_in(real_path(inputs.base), real_target)) refuse("holds the base model");
  const RunFolder run(inputs.run);
  for (const std::string& part : {inputs.run, run.adapter(), run.checkpoints(), run.pinned(), run.requested()})
    if (!inputs.run.empty() && path_exists(part) && is_in(real_path(part), real_target))
      refuse("holds what is exported");
  if (is_in(real_path("."), real_target)) refuse("holds the current folder");
  return target;
}

void publish_folder(const std::string& temporary, const std::string& out) {
  const FileDescriptor directory = open_directory(parent_path(out));
  std::string old;
  if (path_exists(out)) {
    const bool empty = is_directory(out) && list_directory(out).empty();
    if (!empty)
      old = move_aside(out);
    else
      std::filesystem::remove(out);
  }
  if (std::rename(temporary.c_str(), out.c_str()) != 0) {
    const int error = errno;
    if (!old.empty()) (void)std::rename(old.c_str(), out.c_str());
    throw Error(Diagnostic("E0512", concat("cannot make ", out, ": ", error_text(error)))
                    .note(old.empty() ? "nothing has that name" : "the old one has its name again"));
  }
  if (!old.empty()) log_info(concat("moved ", out, " to ", old));
  if (const IoResult synced = sync_file(directory.get()); !synced)
    throw Error(Diagnostic("E0512", concat("syncing the folder of ", out, " failed: ", error_text(synced.error)))
                    .note("the export is complete, but a power failure may undo its name")
                    .help("check the disk"));
}

}  // namespace shori
