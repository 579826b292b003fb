#include "shori/export/merge.h"

#include <nlohmann/json.hpp>

#include "shori/io/hf_model.h"
#include "shori/train/run_identity.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/export/export_folder.h"
#include "src/export/merged_chunks.h"
#include "src/export/merged_weights.h"
#include "src/export/model_extras.h"
#include "src/export/write_exports.h"

namespace shori {
namespace {

// config.json with the type of the weights set and nothing else changed.
std::string edited_config(const HfModel& base, MergeDType dtype) {
  JsonProblem problem;
  const auto root = parse_json(base.config_json(), {}, problem);
  SHORI_CHECK(root, "config.json was readable before");
  const std::string wanted = dtype == MergeDType::kBf16 ? "\"bfloat16\"" : "\"float16\"";
  for (const char* key : {"torch_dtype", "dtype"})
    if (const JsonValue* value = root->find(key); value && value->is_string())
      return with_json_member(base.config_json(), key, wanted, "config.json");
  return base.config_json();
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

std::string fingerprint_of(const HfModel& base) {
  ByteProgress progress("checking the base", base.tensor_bytes());
  const std::string fingerprint = base.fingerprint([&](std::uint64_t done, std::uint64_t) { progress.report(done); });
  progress.finish();
  return fingerprint;
}

// E0805 if the adapter knows its base and `fingerprint` is not that one's.
void check_fingerprint(const BaseModel& base, const ExportSource& source, const std::string& fingerprint) {
  if (source.base_fingerprint().empty() || source.base_fingerprint() == fingerprint) return;
  throw Error(Diagnostic("E0805", "merge needs the base used in training")
                  .at(base.folder)
                  .note(concat("base fingerprint ", fingerprint.substr(0, 8), ", the adapter was trained on ",
                               source.base_fingerprint().substr(0, 8)))
                  .help("name the folder of that base with `--base`"));
}

// E0805 if the adapter knows its tokenizer and the base has another one. A base without any has none to write.
void check_tokenizer(const BaseModel& base, const ExportSource& source) {
  constexpr char kName[] = "tokenizer.model";
  if (source.tokenizer_sha256().empty() || !path_exists(join_path(base.folder, kName))) return;
  const InputFile file = InputFile::open_in(base.folder, kName);
  if (sha256_of_file(file) == source.tokenizer_sha256()) return;
  throw Error(Diagnostic("E0805", "the tokenizer is not the one used in training")
                  .at(file.path())
                  .help("name the folder of that base with `--base`"));
}

}  // namespace

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

std::string check_base(const BaseModel& base, const ExportSource& source,
                       const std::map<std::string, Sha256Digest>& digests) {
  const HfModel& model = *base.model;
  std::vector<Sha256Digest> in_order;
  for (const HfTensor& tensor : model.tensors()) {
    const auto known = digests.find(tensor.name);
    in_order.push_back(known != digests.end()
                           ? known->second
                           : model.shard_file(tensor.shard).digest(tensor.entry, throw_if_stop_requested));
  }
  const std::string fingerprint = model.fingerprint_of(in_order);
  check_fingerprint(base, source, fingerprint);
  return fingerprint;
}

void check_fits(const BaseModel& base, const ExportSource& source) {
  try {
    for (const HfTensor& tensor : base.model->tensors()) (void)lora_of(source, tensor);
  } catch (const Error&) {
    if (!source.base_fingerprint().empty()) check_fingerprint(base, source, fingerprint_of(*base.model));
    throw;
  }
  check_tokenizer(base, source);
}

MergedExport write_merged_export(const MergeOptions& options, const ExportSource& source, const BaseModel& base,
                                 const CardFacts& card, const std::string& folder) {
  check_fits(base, source);
  make_directories(folder);
  const MergeInput input{options, *base.model, source};
  WrittenWeights written = write_merged_weights(input, folder);
  CardFacts facts = card;
  facts.base_fingerprint = check_base(base, source, written.base_digests);
  check_changes(*base.model, source, written.changed);
  verify_merged_weights(input, folder, written);
  write_file_atomically(folder, "config.json", edited_config(*base.model, options.dtype));
  if (!base.model->index_json().empty())
    write_file_atomically(folder, "model.safetensors.index.json", edited_index(*base.model));
  write_model_extras(options.base, folder, options.sampling);
  facts.library = "transformers";
  facts.base_name = base_model_name(base);
  facts.base_revision = revision_of(base.folder);
  facts.merge_base = word_of(options.merge_base);
  write_with_record(folder, facts, digests_of_files(folder, written.files));
  return {facts.base_fingerprint, std::move(written.files)};
}

void export_merged(const MergeOptions& options) {
  ExportFolder folder(options.out, {options.source.run, options.base}, options.force);
  const ExportSource source = open_export_source(options.source);
  const BaseModel base = open_base(options.base);
  write_merged_export(options, source, base, facts_of(source, file_name(folder.target())), folder.path());
  folder.publish();
  log_info(concat("wrote ", folder.target(), ": ", base.model->tensors().size(), " tensors, ",
                  source.tensors.size() / 2, " merged"));
}

}  // namespace shori
