#include "shori/train/adapter_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "shori/config/vocabulary.h"
#include "shori/io/half.h"
#include "shori/io/safetensors_writer.h"
#include "shori/train/run_folder.h"
#include "shori/util/bf16.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

constexpr char kWeightsName[] = "adapter_model.safetensors";
constexpr char kPickleName[] = "adapter_model.bin";
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

// The command reads the file with weights_only, so that PyTorch runs no code of it, and writes what PEFT would write.
[[noreturn]] void refuse_pickle(const std::string& folder) {
  constexpr char kProgram[] =
      "import sys, torch, safetensors.torch as s; "
      "t = torch.load(sys.argv[1], map_location=\"cpu\", weights_only=True); "
      "s.save_file({k: v.clone().contiguous() for k, v in t.items()}, sys.argv[2], {\"format\": \"pt\"})";
  throw Error(Diagnostic("E0202", concat("found ", kPickleName, ", no ", kWeightsName, " in `", folder, "`"))
                  .note("pickle files can run code when read; they are never read")
                  .help(concat("convert it, with Python's torch and safetensors: `python3 -c ", shell_word(kProgram),
                               " ", shell_word(join_path(folder, kPickleName)), " ",
                               shell_word(join_path(folder, kWeightsName)), "`")));
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
                                                        AdapterDType dtype, bool peft_06, const std::string& safe) {
  const std::string temporary = join_path(parent, "." + name + ".tmp");
  std::uint64_t bytes = 0;
  for (const NamedArray& factor : factors) bytes += factor.bytes();
  IoTask task{name + "/", parent, bytes, safe};
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
    const FileDescriptor directory = open_directory(parent);
    if (::rename(temporary.c_str(), join_path(parent, name).c_str()) != 0 || sync_file(directory.get()).error) {
      Diagnostic failed("E0512", "writing " + join_path(parent, name) + " failed: " + error_text(errno));
      if (!safe.empty()) failed.note(safe);
      throw Error(failed);
    }
  } catch (...) {
    remove_folder(temporary);
    throw;
  }
  return hashes;
}

namespace {

// The folders of finished stages in the folder of a recipe, as one text; empty if there is none.
std::string finished_stages_in(const std::string& path) {
  std::vector<std::string> finished;
  for (const std::string& folder : stage_folders_in(path))
    if (path_exists(RunFolder(folder).file("done.json"))) finished.push_back(quoted_path(folder));
  return join_words(finished);
}

void check_unchanged(const RunFolder& run, const JsonValue& done, const std::optional<std::uint64_t>& step) {
  std::vector<Diagnostic> changes = adapter_changes(run, done);
  if (changes.empty()) return;
  const std::string last = step ? join_path(run.checkpoints(), checkpoint_name(*step)) : "";
  changes.back().help(last.empty() ? "restore it" : "restore it, or name the run's last checkpoint: " + last);
  throw Error(changes);
}

}  // namespace

std::vector<Diagnostic> adapter_changes(const RunFolder& run, const JsonValue& done) {
  std::vector<Diagnostic> changes;
  const JsonValue* files = done.find("adapter");
  if (!files || !files->is_object()) return changes;
  for (const auto& [name, sha256] : files->members) {
    const std::string path = join_path(run.adapter(), name);
    const bool there = path_exists(path);
    if (there && sha256_of_file(InputFile::open_in(run.adapter(), name, "E0506")) == sha256.text) continue;
    changes.emplace_back("E0517", concat(path, " is not the one that was written"));
    if (!there) changes.back().note("it is missing");
  }
  return changes;
}

AdapterSource find_adapter_source(const std::string& path) {
  if (is_directory(path)) {
    const bool is_run = path_exists(join_path(path, "run.json")) || is_directory(join_path(path, "checkpoints"));
    if (is_run) {
      const RunFolder run(path);
      const auto done = run.read_done();
      const auto step = run.newest_checkpoint();
      if (done) {
        check_unchanged(run, *done, step);
        return {run.adapter(), kWeightsName, false};
      }
      throw Error(Diagnostic("E0510", concat("`", path, "` is not finished", step ? concat(" (step ", *step, ")") : ""))
                      .help(concat("finish it with --resume, or name one checkpoint file",
                                   step ? ": " + join_path(run.checkpoints(), checkpoint_name(*step)) : "")));
    }
    if (path_exists(join_path(path, kWeightsName))) return {path, kWeightsName, false};
    if (path_exists(join_path(path, kPickleName))) refuse_pickle(path);
    if (path_exists(join_path(path, kConfigName)))
      throw Error(Diagnostic("E0510", concat("`", path, "` has ", kConfigName, ", but no ", kWeightsName))
                      .help(concat("copy ", kWeightsName,
                                   " of the same adapter there; from the Hub: `hf download "
                                   "ORG/NAME --local-dir ",
                                   shell_word(path), "`")));
  } else if (path_exists(path) && path.ends_with(".safetensors")) {
    return {parent_path(path), file_name(path), file_name(path) != kWeightsName};
  } else if (path_exists(path) && file_name(path) == kPickleName) {
    refuse_pickle(parent_path(path));
  }
  const std::string stages = finished_stages_in(path);
  throw Error(Diagnostic("E0510", "no adapter at `" + path + "`")
                  .help(stages.empty() ? "name a finished run folder, a PEFT adapter folder, or a checkpoint file"
                                       : "name one of the finished stages in it: " + stages));
}

}  // namespace shori
