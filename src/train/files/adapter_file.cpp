#include "shori/train/adapter_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <ranges>
#include <set>
#include <span>

#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/io/safetensors_writer.h"
#include "shori/train/checkpoint.h"
#include "shori/train/run_folder.h"
#include "shori/util/bf16.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

constexpr char kWeightsName[] = "adapter_model.safetensors";
constexpr char kConfigName[] = "adapter_config.json";

FileDType file_dtype(AdapterDType dtype) {
  return dtype == AdapterDType::kF32    ? FileDType::kF32
         : dtype == AdapterDType::kBf16 ? FileDType::kBf16
                                        : FileDType::kF16;
}

// Values of one factor in the written type, little endian.
std::string encode(const NamedArray& factor, AdapterDType dtype) {
  const std::span<const float> values = factor.values<float>();
  if (dtype == AdapterDType::kF32) return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
  std::string bytes(values.size() * 2, '\0');
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = dtype == AdapterDType::kBf16 ? to_bf16(values[i]).bits : float_to_half(values[i]);
    if (dtype == AdapterDType::kF16 && std::isfinite(values[i]) && (bits & 0x7c00) == 0x7c00)
      throw Error(
          Diagnostic("E0804", concat(factor.name, " holds a value that float16 cannot: ", std::to_string(values[i])))
              .help("`--dtype bf16` or `--dtype f32`"));
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
  }
  return bytes;
}

void write_weights(const std::string& folder, const std::vector<NamedArray>& factors,
                   std::map<std::string, std::string> metadata, AdapterDType dtype) {
  std::vector<NamedArray> arrays = factors;
  for (NamedArray& array : arrays) array.dtype = file_dtype(dtype);
  metadata["format"] = "pt";
  SafetensorsWriter file(join_path(folder, kWeightsName), arrays, {metadata.begin(), metadata.end()});
  for (const NamedArray& factor : factors) {
    const std::string bytes = encode(factor, dtype);
    file.append(bytes.data(), bytes.size());
  }
  file.finish();
}

// The file must hold the bytes that were meant.
void check_written(const std::string& folder, const std::vector<NamedArray>& factors, AdapterDType dtype) {
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder, kWeightsName, "E0804"));
  bool same = file.tensors().size() == factors.size();
  for (std::size_t i = 0; same && i < factors.size(); ++i) {
    const TensorEntry& entry = file.tensors()[i];
    std::string bytes(entry.bytes(), '\0');
    file.read(entry, 0, bytes.data(), bytes.size());
    same = entry.name == factors[i].name && bytes == encode(factors[i], dtype);
  }
  if (!same)
    throw Error(Diagnostic(
        "E0804", concat("re-reading ", join_path(folder, kWeightsName), " gave other content than was written")));
}

void remove_folder(const std::string& folder) {
  if (!is_directory(folder)) return;
  for (const std::string& name : list_directory(folder)) ::unlink(join_path(folder, name).c_str());
  ::rmdir(folder.c_str());
}

struct ConfigReader {
  const JsonValue& json;
  const std::string& text;
  const std::string& path;
  Diagnostics problems;

  void refuse(const JsonValue* value, const std::string& message, const std::string& note) {
    Diagnostic diagnostic("E0511", message);
    const TextPosition position = position_of(text, value ? value->offset : 0);
    diagnostic.at({path, position.line, position.column, 0, std::string(position.line_text)});
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
  if (!json || !json->is_object()) {
    const TextPosition at = position_of(text, std::min(problem.offset, text.size()));
    throw Error(Diagnostic(problem.duplicate_key ? "E0214" : "E0511", json ? "not a JSON object" : problem.message)
                    .at({path, at.line, at.column, 0, std::string(at.line_text)}));
  }
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

std::string AdapterSource::path() const { return join_path(folder, file); }

std::string adapter_config_text(const AdapterSettings& settings, bool peft_06) {
  std::vector<std::string> targets = settings.target_modules;
  std::sort(targets.begin(), targets.end());
  const Json none = nullptr, empty = Json::object();
  Json json = {{"alpha_pattern", empty},   {"auto_mapping", none},    {"base_model_name_or_path", settings.base_name},
               {"bias", "none"},           {"fan_in_fan_out", false}, {"inference_mode", true},
               {"init_lora_weights", true}};
  if (!peft_06) json["layer_replication"] = none;
  json["layers_pattern"] = none;
  json["layers_to_transform"] = none;
  if (!peft_06) json["loftq_config"] = empty;
  json["lora_alpha"] = settings.alpha;
  json["lora_dropout"] = settings.dropout;
  if (!peft_06) json["megatron_config"] = none;
  if (!peft_06) json["megatron_core"] = "megatron.core";
  json["modules_to_save"] = none;
  json["peft_type"] = "LORA";
  json["r"] = settings.rank;
  json["rank_pattern"] = empty;
  json["revision"] = none;
  json["target_modules"] = targets;
  json["task_type"] = "CAUSAL_LM";
  if (!peft_06) json["use_dora"] = false;
  if (!peft_06) json["use_rslora"] = false;
  return json_text(json, 2);
}

std::map<std::string, std::string> write_adapter_folder(const std::string& parent, const std::string& name,
                                                        const AdapterSettings& settings,
                                                        const std::vector<NamedArray>& factors,
                                                        const std::map<std::string, std::string>& metadata,
                                                        AdapterDType dtype, bool peft_06) {
  const std::string temporary = join_path(parent, "." + name + ".tmp");
  std::uint64_t bytes = 0;
  for (const NamedArray& factor : factors) bytes += factor.bytes();
  IoTask task{name + "/", parent, bytes, "the last checkpoint is safe"};
  const auto attempt = [&] {
    remove_folder(temporary);
    if (::mkdir(temporary.c_str(), 0777) != 0) throw IoFailure{"mkdir", errno};
    write_weights(temporary, factors, metadata, dtype);
  };
  std::map<std::string, std::string> hashes;
  try {
    run_io_task(task, attempt, [&] { remove_folder(temporary); });
    write_file_atomically(temporary, kConfigName, adapter_config_text(settings, peft_06));
    check_written(temporary, factors, dtype);
    for (const std::string& file : list_directory(temporary))
      hashes[file] = sha256_of_file(InputFile::open_in(temporary, file, "E0804"));
  } catch (...) {
    remove_folder(temporary);
    throw;
  }
  const FileDescriptor directory = open_directory(parent);
  if (::rename(temporary.c_str(), join_path(parent, name).c_str()) != 0 || sync_file(directory.get()).error)
    throw Error(Diagnostic("E0512", "writing " + join_path(parent, name) + " failed: " + error_text(errno))
                    .note("the last checkpoint is safe"));
  return hashes;
}

AdapterSource find_adapter_source(const std::string& path) {
  if (is_directory(path)) {
    const bool is_run = path_exists(join_path(path, "run.json")) || is_directory(join_path(path, "checkpoints"));
    if (is_run) {
      const RunFolder run(path);
      if (run.read_done()) return {run.adapter(), kWeightsName, false};
      const auto step = run.newest_checkpoint();
      throw Error(Diagnostic("E0510", concat("`", path, "` is not finished", step ? concat(" (step ", *step, ")") : ""))
                      .help(concat("finish it with --resume, or name one checkpoint file",
                                   step ? ": " + join_path(run.checkpoints(), checkpoint_name(*step)) : "")));
    }
    if (path_exists(join_path(path, kWeightsName))) return {path, kWeightsName, false};
    if (path_exists(join_path(path, "adapter_model.bin")))
      throw Error(Diagnostic("E0202", "found adapter_model.bin, no adapter_model.safetensors in `" + path + "`")
                      .note("pickle files can run code when read; they are never read")
                      .help("save the adapter as safetensors"));
  } else if (path_exists(path) && path.ends_with(".safetensors")) {
    return {parent_path(path), file_name(path), file_name(path) != kWeightsName};
  }
  throw Error(Diagnostic("E0510", "no adapter at `" + path + "`")
                  .help("name a finished run folder, a PEFT adapter folder, or a checkpoint file"));
}

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
