#include "shori/export/merge.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "shori/io/hf_model.h"
#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "src/export/merged_weights.h"

namespace shori {
namespace {

// Copied byte for byte if present. config.json and the index are edited, the weights are written by the merge.
constexpr const char* kCopiedFiles[] = {"tokenizer.model",         "tokenizer.json",    "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json", "generation_config.json",
                                        "chat_template.jinja",     "chat_template.json"};
// Folders of further templates, one `.jinja` file each: transformers' own, and its older name.
constexpr const char* kTemplateFolders[] = {"additional_chat_templates", "chat_templates"};

// config.json with the type of the weights set and nothing else changed.
std::string edited_config(const HfModel& base, MergeDType dtype) {
  JsonProblem problem;
  const auto root = parse_json(base.config_json(), {}, problem);
  SHORI_CHECK(root, "config.json was readable before");
  const std::string wanted = dtype == MergeDType::kBf16 ? "\"bfloat16\"" : "\"float16\"";
  std::string text = base.config_json();
  for (const char* key : {"torch_dtype", "dtype"}) {
    const JsonValue* value = root->find(key);
    if (!value || !value->is_string()) continue;
    const std::size_t end = text.find('"', value->offset + 1);
    text.replace(value->offset, end + 1 - value->offset, wanted);
    return text;
  }
  return text;
}

// The index with total_size as written; the weight_map is the base's.
std::string edited_index(const HfModel& base) {
  std::uint64_t total = 0;
  std::map<std::string, std::string> weight_map;
  for (const HfTensor& tensor : base.tensors()) {
    total += static_cast<std::uint64_t>(tensor.rows() * tensor.cols()) * 2;
    weight_map[tensor.name] = base.shards()[tensor.shard].name;
  }
  return json_text({{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}, 2) + "\n";
}

void check_base(const HfModel& base, const ExportSource& source, const std::string& fingerprint) {
  if (source.base_fingerprint().empty() || source.base_fingerprint() == fingerprint) return;
  throw Error(Diagnostic("E0805", "merge needs the base used in training")
                  .at(base.folder())
                  .note(concat("base fingerprint ", fingerprint.substr(0, 8), ", the adapter was trained on ",
                               source.base_fingerprint().substr(0, 8)))
                  .help("name the folder of that base with `--base`"));
}

BaseModel open_base(const std::string& folder) {
  BaseModel base;
  base.folder = folder;
  base.model = std::make_unique<HfModel>(HfModel::open(folder));
  if (base.model->config().is_nf4)
    throw Error(Diagnostic("E0216", "a merge needs 16-bit weights, this base is NF4 already")
                    .at(folder)
                    .help("name the folder of the 16-bit base with `--base`"));
  return base;
}

std::string fingerprint_of(const HfModel& base) {
  Progress progress(5);
  return base.fingerprint([&](std::uint64_t done, std::uint64_t total) {
    progress.update(concat("checking the base: ", format_bytes(done), " of ", format_bytes(total)));
  });
}

// `name` may be in a folder below.
void copy_file(const std::string& from, const std::string& to, const std::string& name) {
  const std::string target = join_path(to, name);
  make_directories(parent_path(target));
  write_file_atomically(parent_path(target), file_name(target),
                        read_whole_file(InputFile::open_in(from, name, "E0203"), 256u << 20, "E0804"));
}

void copy_templates(const std::string& from, const std::string& to) {
  for (const std::string folder : kTemplateFolders) {
    if (!is_directory(join_path(from, folder))) continue;
    for (const std::string& name : list_directory(join_path(from, folder)))
      if (name.ends_with(".jinja")) copy_file(from, to, join_path(folder, name));
  }
}

std::map<std::string, std::string> digests_of_files(const std::string& folder) {
  std::map<std::string, std::string> digests;
  const auto add = [&](const std::string& name) {
    digests[name] = sha256_of_file(InputFile::open_in(folder, name, "E0804"));
  };
  for (const std::string& name : list_directory(folder)) {
    if (!is_directory(join_path(folder, name))) {
      add(name);
      continue;
    }
    for (const std::string& inner : list_directory(join_path(folder, name))) add(join_path(name, inner));
  }
  return digests;
}

// Everything of the merged model, to a folder under a temporary name.
void write_model(const MergeOptions& options, const BaseModel& base, const ExportSource& adapter,
                 const std::string& fingerprint, const std::string& folder) {
  const MergeInput input{options, *base.model, adapter};
  const std::map<std::string, std::string> digests = write_merged_weights(input, folder);
  verify_merged_weights(input, folder, digests);
  write_file_atomically(folder, "config.json", edited_config(*base.model, options.dtype));
  if (!base.model->index_json().empty())
    write_file_atomically(folder, "model.safetensors.index.json", edited_index(*base.model));
  for (const char* name : kCopiedFiles)
    if (path_exists(join_path(options.base, name))) copy_file(options.base, folder, name);
  copy_templates(options.base, folder);
  const char* merge_base = options.merge_base == MergeBase::kOriginal ? "original" : "nf4";
  write_file_atomically(
      folder, "shori_export.json",
      export_record(adapter, base_model_name(base), fingerprint, merge_base, digests_of_files(folder)));
}

}  // namespace

void export_merged(const MergeOptions& options) {
  const std::string out = check_target(options.out, options.base, options.force);
  const ExportSource adapter = open_export_source(options.source);
  const BaseModel base = open_base(options.base);
  const std::string fingerprint = fingerprint_of(*base.model);
  check_base(*base.model, adapter, fingerprint);

  make_directories(parent_path(out));
  const std::string partial = join_path(parent_path(out), concat(".", file_name(out), ".partial"));
  std::filesystem::remove_all(partial);
  make_directories(partial);
  try {
    write_model(options, base, adapter, fingerprint, partial);
  } catch (...) {
    // Nothing half-written remains, not even under the temporary name.
    std::error_code ignored;
    std::filesystem::remove_all(partial, ignored);
    throw;
  }
  publish_folder(partial, out);
  log_info(
      concat("wrote ", out, ": ", base.model->tensors().size(), " tensors, ", adapter.tensors.size() / 2, " merged"));
}

}  // namespace shori
