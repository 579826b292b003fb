#include "src/train/files/adapter_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/files/target_modules.h"

namespace shori {
namespace {

constexpr char kConfigName[] = "adapter_config.json";

struct ConfigReader {
  const JsonValue& json;
  const std::string& text;
  const std::string& path;
  Diagnostics problems;

  void refuse(
      const JsonValue* value, const std::string& message, const std::string& note,
      const std::string& help = "name another adapter: plain LoRA of the linears, as `shori-train` and PEFT save it") {
    Diagnostic diagnostic("E0511", message);
    diagnostic.at(location_of(path, text, value ? value->offset : 0));
    if (!note.empty()) diagnostic.note(note);
    problems.add(diagnostic.help(help));
  }
  void expect_integer(const char* key, std::int64_t wanted) {
    const JsonValue* value = json.find(key);
    const auto found = value ? value->as_double() : std::nullopt;
    if (found && *found == static_cast<double>(wanted)) return;
    const std::string name = key == std::string_view("r") ? "lora_r" : key;
    refuse(value, concat("adapter has `", key, "` ", value ? value->text : "missing", ", the config says ", wanted), "",
           found && *found >= 1 && *found == std::floor(*found)
               ? concat("write `", name, ": ", static_cast<std::int64_t>(*found), "`, or name another adapter")
               : "name another adapter");
  }
  void expect_neutral(const char* key, const char* meaning) {
    const JsonValue* value = json.find(key);
    if (!value || value->is_null()) return;
    const bool neutral = (value->kind == JsonValue::Kind::kBool && !value->boolean) ||
                         (value->is_string() && value->text == "none") ||
                         (value->is_object() && value->members.empty()) || (value->is_array() && value->items.empty());
    if (!neutral) refuse(value, concat("adapter uses `", key, "`, which is not supported"), meaning);
  }
};

std::string module_name(std::int64_t layer, Linear linear) {
  return concat("model.layers.", layer, ".", path_of(linear));
}

std::int64_t layer_count(const AdapterFile& adapter) { return adapter.factors.rbegin()->first.layer + 1; }

std::set<std::string> linears_of(const AdapterFile& adapter) {
  std::set<std::string> names;
  for (const auto& [name, entry] : adapter.factors) names.emplace(name_of(name.linear));
  return names;
}

// `target_modules` as a list that PEFT reads as the same modules.
std::string list_of_linears(const AdapterFile& adapter) {
  std::string list;
  for (const std::string& name : linears_of(adapter)) list += concat(list.empty() ? "\"" : ", \"", name, "\"");
  return concat("\"target_modules\": [", list, "]");
}

// The modules that `target_modules` and `exclude_modules` name must be those whose factors the file has, as PEFT loads the
// others with initial values, or not at all, and says nothing.
void check_modules(ConfigReader& reader, const AdapterFile& adapter) {
  const JsonValue* value = reader.json.find("target_modules");
  try {
    const ModulePattern target(value), exclude(reader.json.find("exclude_modules"));
    std::vector<std::string> differences;
    for (std::int64_t layer = 0; layer < layer_count(adapter); ++layer) {
      for (const Linear linear : kLinears) {
        const std::string module = module_name(layer, linear);
        const bool named = target.matches(module) && !exclude.matches(module);
        const bool there =
            adapter.factors.contains({layer, linear, false}) || adapter.factors.contains({layer, linear, true});
        if (named != there) differences.push_back(concat(there ? "not named: " : "without tensors: ", module));
      }
    }
    if (differences.empty()) return;
    reader.refuse(
        value, "`target_modules` does not name the modules that the file has tensors of",
        concat(differences.front(), differences.size() > 1 ? concat(", and ", differences.size() - 1, " more") : ""));
  } catch (const std::exception&) {  // std::regex_error, or too large
    reader.refuse(value, "`target_modules` is an expression that cannot be evaluated here",
                  "write in its place: " + list_of_linears(adapter));
  }
}

void check_targets(ConfigReader& reader, const AdapterFile& adapter, const std::vector<std::string>& wanted) {
  const std::set<std::string> found = linears_of(adapter), expected(wanted.begin(), wanted.end());
  if (found == expected) return check_modules(reader, adapter);
  std::string text;
  for (const std::string& name : found)
    if (!expected.contains(name)) text += " +" + name;
  for (const std::string& name : expected)
    if (!found.contains(name)) text += " -" + name;
  reader.refuse(reader.json.find("target_modules"), "adapter has other `target_modules` than the config",
                "against the config:" + text, "name these modules in `lora_target_modules`, or another adapter");
}

// All layers, or null: an adapter of some layers is not what the config trains.
void check_layers(ConfigReader& reader, const AdapterFile& adapter) {
  const JsonValue* value = reader.json.find("layers_to_transform");
  if (!value || value->is_null()) return;
  std::set<std::int64_t> layers;
  for (const JsonValue& item : value->items) layers.insert(item.as_integer().value_or(-1));
  if (!value->is_array() || static_cast<std::int64_t>(layers.size()) != layer_count(adapter) || *layers.begin() != 0)
    reader.refuse(value, "adapter uses `layers_to_transform`, which is not supported",
                  "all layers have an adapter here");
}

// These initializations change the base's weights, so that the adapter belongs to a base that is nowhere in a file.
void check_initialization(ConfigReader& reader) {
  const JsonValue* value = reader.json.find("init_lora_weights");
  if (!value || !value->is_string()) return;
  for (const char* changing : {"pissa", "olora", "corda", "loftq", "lora_ga"})
    if (lower_ascii(value->text).starts_with(changing))
      reader.refuse(value, concat("adapter uses `init_lora_weights` \"", escape_for_log(value->text), "\""),
                    "it belongs to a changed base; save it with `path_initial_model_for_weight_conversion` of PEFT");
}

// A pattern whose every value is the common one changes nothing.
void expect_common(ConfigReader& reader, const char* key, std::int64_t common, const char* meaning) {
  const JsonValue* value = reader.json.find(key);
  if (!value || !value->is_object()) return reader.expect_neutral(key, meaning);
  for (const auto& [module, number] : value->members)
    if (number.as_double() != static_cast<double>(common))
      return reader.refuse(value, concat("adapter uses `", key, "`, which is not supported"), meaning);
}

struct ConfigFile {
  std::string path, text;
  JsonValue json;
};

ConfigFile read_config(const std::string& folder) {
  ConfigFile file{join_path(folder, kConfigName), {}, {}};
  file.text = read_whole_file(InputFile::open_in(folder, kConfigName, "E0511"), 16u << 20, "E0511");
  JsonProblem problem;
  auto json = parse_json(file.text, {}, problem);
  if (!json || !json->is_object())
    throw Error(Diagnostic(problem.duplicate_key ? "E0214" : "E0511", json ? "not a JSON object" : problem.message)
                    .at(location_of(file.path, file.text, problem.offset)));
  file.json = std::move(*json);
  return file;
}

// An id as it is, of a path only the last name: no path of this machine belongs in a file for others.
std::string public_name(const std::string& recorded) {
  const bool is_id = !recorded.starts_with("/") && !recorded.starts_with(".") && !recorded.starts_with("~") &&
                     std::count(recorded.begin(), recorded.end(), '/') == 1;
  std::string_view path = recorded;
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return is_id ? recorded : file_name(std::string(path));
}

AdapterSettings settings_in_manifest(const AdapterSource& source, const JsonValue& manifest) {
  const JsonValue *config = manifest.find("config"), *base = manifest.find("base");
  if (!config || !base)
    throw Error(Diagnostic("E0503", "the checkpoint's manifest lacks its config").at(source.path()));
  const auto integer = [&](const char* key) {
    const JsonValue* value = config->find(key);
    return value ? value->as_integer().value_or(0) : 0;
  };
  AdapterSettings settings;
  settings.rank = integer("lora_r");
  settings.alpha = integer("lora_alpha");
  if (const JsonValue* dropout = config->find("lora_dropout"))
    settings.dropout = double_from_bits_hex(dropout->text).value_or(0);
  if (const JsonValue* targets = config->find("lora_target_modules"))
    for (const JsonValue& item : targets->items) settings.target_modules.push_back(item.text);
  if (const JsonValue* name = base->find("name")) settings.base_name = name->text;
  return settings;
}

}  // namespace

void check_adapter_config(const std::string& folder, const AdapterFile& adapter, const AdapterSettings& settings) {
  const ConfigFile file = read_config(folder);
  ConfigReader reader{file.json, file.text, file.path, {}};
  const JsonValue* type = file.json.find("peft_type");
  if (!type || type->text != "LORA") reader.refuse(type, "`peft_type` is not \"LORA\"", "");
  reader.expect_integer("r", settings.rank);
  reader.expect_integer("lora_alpha", settings.alpha);
  check_targets(reader, adapter, settings.target_modules);
  check_layers(reader, adapter);
  check_initialization(reader);
  reader.expect_neutral("use_dora", "weight-decomposed LoRA has further tensors");
  reader.expect_neutral("use_rslora", "the scaling would be alpha / sqrt(r)");
  reader.expect_neutral("bias", "biases are not trained here");
  reader.expect_neutral("lora_bias", "biases are not trained here");
  reader.expect_neutral("modules_to_save", "whole modules are not trained here");
  reader.expect_neutral("trainable_token_indices", "embeddings are not trained here");
  reader.expect_neutral("target_parameters", "only linears have an adapter here");
  expect_common(reader, "rank_pattern", settings.rank, "one rank for all modules is expected");
  expect_common(reader, "alpha_pattern", settings.alpha, "one alpha for all modules is expected");
  reader.expect_neutral("fan_in_fan_out", "weights are stored [out, in]");
  reader.expect_neutral("layer_replication", "the base's layers are used as they are");
  for (const char* key : {"use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config",
                          "velora_config", "monteclora_config"})
    reader.expect_neutral(key, "this is another kind of adapter than plain LoRA");
  reader.problems.throw_if_errors();
}

AdapterSettings settings_of_adapter(const AdapterSource& source, const AdapterFile& adapter) {
  if (source.is_checkpoint) return settings_in_manifest(source, adapter.manifest);
  const ConfigFile file = read_config(source.folder);
  const auto number = [&](const char* key) {
    const JsonValue* value = file.json.find(key);
    return value ? value->as_double() : std::nullopt;
  };
  const auto integer = [&](const char* key) {
    const auto found = number(key);
    if (found && *found >= 1 && *found <= 1e9 && *found == std::floor(*found)) return static_cast<std::int64_t>(*found);
    throw Error(Diagnostic("E0511", concat("`", key, "` is missing or not a positive integer")).at(file.path));
  };
  AdapterSettings settings;
  settings.rank = integer("r");
  settings.alpha = integer("lora_alpha");
  for (const auto& [name, entry] : adapter.factors)
    if (const std::int64_t rank = entry.shape[name.is_b ? 1 : 0]; rank != settings.rank)
      throw Error(
          Diagnostic("E0511", concat(name.text(), " has rank ", rank, ", `r` is ", settings.rank)).at(file.path));
  settings.dropout = number("lora_dropout").value_or(0);
  const std::set<std::string> linears = linears_of(adapter);
  settings.target_modules = {linears.begin(), linears.end()};
  const JsonValue* base = file.json.find("base_model_name_or_path");
  if (base && base->is_string()) settings.base_name = public_name(base->text);
  return settings;
}

}  // namespace shori
