#include "shori/train/run_identity.h"

#include <ATen/Version.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "shori/ops/cpu_isa.h"
#include "shori/ops/matmul_choices.h"
#include "shori/util/build_info.h"
#include "shori/util/command.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/plan/data_changes.h"

namespace shori {
namespace {

// The members that a later start compares, shared by run.json and done.json.
void add_identity(Json& json, const PreparedStage& stage, const RunIdentity& run) {
  const EarlyIdentity early = early_identity(stage);
  json["config_hash"] = early.config_hash;
  json["config"] = raw_json(canonical_config(stage.config, ConfigScope::kComplete));
  json["data_fingerprint"] = early.data_fingerprint;
  json["data"] = Json::array();
  for (const DataFile& file : stage.data.files)
    json["data"].push_back({{"path", file.recorded_path}, {"size", file.size}, {"sha256", file.sha256}});
  json["plan_sha256"] = early.plan_sha256;
  json["tokenizer_sha256"] = text_or_null(early.tokenizer_sha256);
  json["base"] = {{"name", run.base.name},
                  {"headers", early.base_headers},
                  {"fingerprint", run.base.fingerprint},
                  {"nf4_checksum", run.base.nf4_checksum}};
  json["parent"] = text_or_null(run.parent.value_or(""));
}

Diagnostic changed(const std::string& what, const std::string& since, const std::string& before,
                   const std::string& now) {
  Diagnostic diagnostic("E0508", concat(what, " changed since ", since));
  diagnostic.note(concat("sha256 ", before.substr(0, 8), " -> ", now.substr(0, 8)));
  return diagnostic.help("restore it, or begin a new stage");
}

// A line of the top level has one value for all stages, so where theirs differ the stage needs one of its own.
std::string help_to_write(const ConfigDifference& difference, const PreparedStage& stage, ValueOrigin::Kind kind) {
  const std::string write = concat("write `", difference.key, ": ", difference.stored, "`");
  if (!stage.in_recipe || kind == ValueOrigin::Kind::kStage) return write;
  const std::string option = concat(stage.name, ".", difference.key, "=", difference.stored);
  return concat(write, "; if other stages were trained with ", difference.present, ", in stage `", stage.name,
                "` only, or by `--set ", shell_word(option), "`");
}

// Names the line, or the option, that has the new value, and what to do about it.
void add_difference(const ConfigDifference& difference, const PreparedStage& stage, Diagnostic& diagnostic) {
  const ValueOrigin origin = stage.origin(difference.key);
  const SourceLocation& location = origin.location;
  const bool by_option = origin.kind == ValueOrigin::Kind::kSet, in_file = !by_option && location.line > 0;
  const bool follows = origin.kind == ValueOrigin::Kind::kDerived;
  const std::string where = by_option ? " (--set)"
                            : follows ? " (follows from other keys)"
                            : in_file ? concat(" (", escape_for_log(location.file, 400), ":", location.line, ")")
                                      : " (not in the config: the default)";
  diagnostic.note(concat("`", difference.key, "` ", difference.stored, " -> ", difference.present, where));
  if (diagnostic.location.file.empty() && in_file) diagnostic.at(location);
  if (follows) return;
  const bool is_list = difference.key == "datasets" || difference.key == "test_datasets";
  diagnostic.help(is_list     ? concat("restore the entries of `", difference.key, "`")
                  : by_option ? concat("leave out `--set ", difference.key, "=...`")
                              : help_to_write(difference, stage, origin.kind));
}

// Keys that decide what is taken from the data are guarded by its fingerprint, so a new spelling of a path changes nothing.
bool decides_data(const ConfigDifference& difference) {
  return difference.key == "skip_samples" || difference.key == "datasets" || difference.key == "test_datasets";
}

// With `of_data` the keys that decide what is taken from the data, else the others that are numeric.
void add_config_changes(const JsonValue& record, const PreparedStage& stage, const std::string& since, bool of_data,
                        std::vector<Diagnostic>& changes) {
  const JsonValue* config = record.find("config");
  Diagnostic diagnostic("E0504", concat("the config changed since ", since));
  if (config) {
    for (const ConfigDifference& difference : config_differences(*config, stage.config)) {
      const bool counts = of_data ? decides_data(difference) : difference.key_class == KeyClass::kNumeric;
      if (counts) add_difference(difference, stage, diagnostic);
    }
  }
  if (of_data && diagnostic.notes.empty()) return;
  changes.push_back(diagnostic.help("or begin a new stage with `init_from`"));
}

void add_data_changes(const JsonValue& record, const PreparedStage& stage, const std::string& since,
                      std::vector<Diagnostic>& changes) {
  changes = data_file_changes(recorded_files(record), stage, since);
  if (changes.empty()) add_config_changes(record, stage, since, true, changes);
  if (!changes.empty()) return;
  changes.push_back(
      changed("what is taken from the data", since, text_member(record, "data_fingerprint"), stage.data.fingerprint));
  changes.back().note("every file is the same; ratings.yaml, categories or the order of entries may have changed");
}

}  // namespace

std::string text_member(const JsonValue& object, const char* key) {
  const JsonValue* value = object.find(key);
  return value && value->is_string() ? value->text : std::string();
}

EarlyIdentity early_identity(const PreparedStage& stage) {
  return {stage.config_hash, stage.data.fingerprint, stage.plan_sha256, stage.data.tokenizer_sha256,
          stage.base->model->header_fingerprint()};
}

std::string run_json(const PreparedStage& stage, const RunIdentity& identity) {
  Json json = {{"format", "shori-run/1"},
               {"stage", stage.name},
               {"version", version()},
               {"build", build_id()},
               {"device", device_name(identity.device)}};
  add_identity(json, stage, identity);
  if (identity.device == Device::kCpu) {
    json["instructions"] = name_of(cpu_isa());
  } else {
    json["products"] = Json::array();
    for (const MatmulChoice& choice : matmul_choices()) {
      if (choice.is_frozen() && stage.config.matmul == MatmulKernel::kCublasLt) continue;  // of an earlier stage
      Json item = {{"product", choice.product}, {"algorithm", choice.algorithm}};
      if (choice.is_frozen()) item["reason"] = choice.description;
      json["products"].push_back(std::move(item));
    }
  }
  // For those who read the record; no start compares it.
  if (const auto& plan = stage.planned_memory()) {
    json["memory_plan"] = Json::array();
    for (const DeviceArena::Line& line : plan->lines)
      json["memory_plan"].push_back({{"part", line.category}, {"bytes", line.bytes}});
  }
  return json_text(json, 2) + "\n";
}

std::string done_json(const PreparedStage& stage, const RunIdentity& identity, std::optional<std::uint64_t> best_step,
                      const std::map<std::string, std::string>& adapter_files) {
  Json json = {{"format", "shori-done/1"},
               {"stage", stage.name},
               {"step", stage.total_steps()},
               {"checkpoint", checkpoint_name(stage.total_steps())},
               {"best_step", best_step ? Json(*best_step) : Json()},
               {"adapter", adapter_files}};
  add_identity(json, stage, identity);
  return json_text(json, 2) + "\n";
}

void restore_matmul_choices(const RunFolder& folder, RestoredChoices which) {
  const auto run = folder.readable_run();
  const JsonValue* products = run ? run->find("products") : nullptr;
  if (products == nullptr) return;
  std::vector<MatmulChoice> choices;
  for (const JsonValue& item : products->items) {
    const MatmulChoice choice{text_member(item, "product"), text_member(item, "algorithm"),
                              text_member(item, "reason")};
    if (find_matmul_choice(choice.product)) continue;
    if (choice.is_frozen() || which == RestoredChoices::kAll) choices.push_back(choice);
  }
  restore_matmul_choices(choices);
}

std::string base_model_name(const BaseModel& base) {
  // A snapshot of the Hugging Face cache: .../models--org--name/snapshots/<revision>.
  const std::string holder = file_name(parent_path(parent_path(base.folder)));
  if (holder.starts_with("models--") && file_name(parent_path(base.folder)) == "snapshots") {
    std::string id = holder.substr(8);
    if (const std::size_t at = id.find("--"); at != std::string::npos) return id.replace(at, 2, "/");
  }
  JsonProblem problem;
  const auto config = parse_json(base.model->config_json(), {}, problem);
  const std::string recorded = config ? text_member(*config, "_name_or_path") : "";
  const bool is_id = !recorded.starts_with("/") && !recorded.starts_with(".") &&
                     std::count(recorded.begin(), recorded.end(), '/') == 1;
  return is_id ? recorded : file_name(base.folder);
}

std::string device_name(Device device) {
  if (device == Device::kCpu) {
    // The instruction sets below AMX give the same bits, as far as they are not libtorch's.
    return concat("cpu ", at::get_cpu_capability(), cpu_isa() == CpuIsa::kAmx ? ", amx" : "");
  }
  const DeviceInfo& info = open_device();
  return concat(info.name, " sm_", info.sm_major, info.sm_minor, ", ", info.sm_count, " multiprocessors");
}

std::vector<Diagnostic> identity_changes(const JsonValue& record, const PreparedStage& stage,
                                         const std::string& since) {
  const EarlyIdentity now = early_identity(stage);
  std::vector<Diagnostic> changes;
  if (!has_numbers_of(record, stage.config)) add_config_changes(record, stage, since, false, changes);
  if (text_member(record, "tokenizer_sha256") != now.tokenizer_sha256)
    changes.push_back(changed("the tokenizer", since, text_member(record, "tokenizer_sha256"), now.tokenizer_sha256));
  const JsonValue* base = record.find("base");
  const std::string headers = base ? text_member(*base, "headers") : "";
  // A manifest has none of them: the weights are compared once they are loaded.
  const bool has_headers = base == nullptr || base->find("headers") != nullptr;
  if (has_headers && headers != now.base_headers)
    changes.push_back(changed("the base model", since, headers, now.base_headers));
  if (!changes.empty()) return changes;
  // Data fingerprint and plan depend on config and tokenizer as well: reported only if those are the same.
  if (text_member(record, "data_fingerprint") != now.data_fingerprint)
    add_data_changes(record, stage, since, changes);
  else if (text_member(record, "plan_sha256") != now.plan_sha256)
    changes.push_back(changed("the pack plan", since, text_member(record, "plan_sha256"), now.plan_sha256));
  return changes;
}

}  // namespace shori
