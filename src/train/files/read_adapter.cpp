// Reading an adapter strictly: its settings, its tensors, their values.
#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>
#include <span>
#include <utility>

#include "shori/io/hf_model.h"
#include "shori/train/adapter_file.h"
#include "shori/train/checkpoint.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr char kConfigName[] = "adapter_config.json";

struct ConfigReader {
  const JsonValue& json;
  const std::string& text;
  const std::string& path;
  Diagnostics problems;

  void refuse(const JsonValue* value, const std::string& message, const std::string& note) {
    Diagnostic diagnostic("E0511", message);
    diagnostic.at(location_of(path, text, value ? value->offset : 0));
    if (!note.empty()) diagnostic.note(note);
    problems.add(diagnostic);
  }
  void expect_integer(const char* key, std::int64_t wanted) {
    const JsonValue* value = json.find(key);
    const auto found = value ? value->as_double() : std::nullopt;
    if (found && *found == static_cast<double>(wanted)) return;
    refuse(value, concat("adapter has `", key, "` ", value ? value->text : "missing", ", the config says ", wanted),
           "");
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

void check_targets(ConfigReader& reader, const std::vector<std::string>& wanted) {
  const JsonValue* value = reader.json.find("target_modules");
  std::set<std::string> found, expected(wanted.begin(), wanted.end());
  if (value && value->is_array())
    for (const JsonValue& item : value->items) found.insert(item.text);
  if (found == expected) return;
  std::string text;
  for (const std::string& name : found)
    if (!expected.contains(name)) text += " +" + name;
  for (const std::string& name : expected)
    if (!found.contains(name)) text += " -" + name;
  reader.refuse(value, "adapter has other `target_modules` than the config", "against the config:" + text);
}

void check_adapter_config(const std::string& folder, const AdapterSettings& settings) {
  const std::string path = join_path(folder, kConfigName);
  const std::string text = read_whole_file(InputFile::open_in(folder, kConfigName, "E0511"), 16u << 20, "E0511");
  JsonProblem problem;
  const auto json = parse_json(text, {}, problem);
  if (!json || !json->is_object())
    throw Error(Diagnostic(problem.duplicate_key ? "E0214" : "E0511", json ? "not a JSON object" : problem.message)
                    .at(location_of(path, text, problem.offset)));
  ConfigReader reader{*json, text, path, {}};
  const JsonValue* type = json->find("peft_type");
  if (!type || type->text != "LORA") reader.refuse(type, "`peft_type` is not \"LORA\"", "");
  reader.expect_integer("r", settings.rank);
  reader.expect_integer("lora_alpha", settings.alpha);
  check_targets(reader, settings.target_modules);
  reader.expect_neutral("use_dora", "weight-decomposed LoRA has further tensors");
  reader.expect_neutral("use_rslora", "the scaling would be alpha / sqrt(r)");
  reader.expect_neutral("bias", "biases are not trained here");
  reader.expect_neutral("modules_to_save", "whole modules are not trained here");
  reader.expect_neutral("rank_pattern", "one rank for all modules is expected");
  reader.expect_neutral("alpha_pattern", "one alpha for all modules is expected");
  reader.expect_neutral("fan_in_fan_out", "weights are stored [out, in]");
  reader.expect_neutral("layer_replication", "the base's layers are used as they are");
  reader.problems.throw_if_errors();
}

SafetensorsFile open_source(const AdapterSource& source) {
  if (source.is_checkpoint) return std::move(open_checkpoint(source.folder, source.file, true).file);
  return SafetensorsFile::open(InputFile::open_in(source.folder, source.file, "E0511"));
}

bool is_adapter_tensor(const std::string& name) { return name.starts_with("base_model."); }

bool is_float(FileDType dtype) {
  return dtype == FileDType::kF32 || dtype == FileDType::kBf16 || dtype == FileDType::kF16;
}

// What is wrong with the tensor of a factor; empty: nothing.
std::string problem_of(const TensorEntry* entry, const NamedArray& factor) {
  if (entry == nullptr) return concat("missing: ", factor.name);
  if (entry->shape != factor.shape)
    return concat("other shape: ", factor.name, ", expected [", factor.shape[0], ", ", factor.shape[1], "]");
  return is_float(entry->dtype) ? "" : concat("other type: ", factor.name, ", expected F32, BF16 or F16");
}

void check_names(const SafetensorsFile& file, const AdapterSource& source, const std::vector<NamedArray>& factors) {
  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (const NamedArray& factor : factors) {
    expected.insert(factor.name);
    const std::string problem = problem_of(file.find(factor.name), factor);
    if (!problem.empty()) problems.push_back(problem);
  }
  for (const TensorEntry& entry : file.tensors())
    if (!expected.contains(entry.name) && (!source.is_checkpoint || is_adapter_tensor(entry.name)))
      problems.push_back(concat("unexpected: ", escape_for_log(entry.name)));
  if (problems.empty()) return;
  constexpr std::size_t kMaxShown = 10;
  Diagnostic diagnostic("E0511", "the adapter's tensors are not those that the config asks for");
  diagnostic.at(source.path());
  for (const std::string& problem : problems | std::views::take(kMaxShown)) diagnostic.note(problem);
  if (problems.size() > kMaxShown) diagnostic.note(concat("and ", problems.size() - kMaxShown, " more"));
  throw Error(diagnostic.help("check `lora_r`, `lora_target_modules` and the base model"));
}

void read_factor(const SafetensorsFile& file, const NamedArray& factor) {
  const TensorEntry& entry = *file.find(factor.name);
  const std::span<float> values = factor.values<float>();
  if (entry.dtype == FileDType::kF32) {
    file.read(entry, 0, values.data(), values.size_bytes());
  } else {
    std::vector<std::uint16_t> bits(values.size());
    file.read(entry, 0, bits.data(), bits.size() * 2);
    widen_values(entry.dtype, bits.data(), bits.size(), values.data());
  }
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  throw Error(Diagnostic("E0210", concat("`", factor.name, "` holds a value that is not finite at element ",
                                         bad - values.begin()))
                  .at(file.file().path())
                  .help("use another adapter"));
}

}  // namespace

AdapterOrigin read_adapter(const AdapterSource& source, const AdapterSettings& settings,
                           const std::vector<NamedArray>& factors) {
  if (!source.is_checkpoint) check_adapter_config(source.folder, settings);
  const SafetensorsFile file = open_source(source);
  check_names(file, source, factors);
  for (const NamedArray& factor : factors) read_factor(file, factor);
  AdapterOrigin origin;
  origin.sha256 = adapter_source_sha256(source);
  const auto metadata = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  origin.base_fingerprint = metadata("shori.base_fingerprint");
  origin.tokenizer_sha256 = metadata("shori.tokenizer_sha256");
  origin.config_hash = metadata("shori.config_hash");
  origin.parent = metadata("shori.parent");
  origin.step = metadata("shori.step");
  return origin;
}

std::string adapter_source_sha256(const AdapterSource& source) {
  return sha256_of_file(InputFile::open_in(source.folder, source.file, "E0511"));
}

}  // namespace shori
