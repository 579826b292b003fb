// Opening a model folder: finds its files and checks that they have exactly the tensors that the architecture needs.
#include <algorithm>
#include <set>

#include "shori/io/hf_model.h"
#include "shori/io/limits.h"
#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/io/shape_text.h"
#include "src/io/tensor_part.h"

namespace shori {
namespace {

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";

constexpr char kDownloadAgain[] = "download the file again";
constexpr char kDownloadModelAgain[] = "download the model from its publisher again";

using Shapes = std::map<std::string, std::vector<std::int64_t>, std::less<>>;
using WeightMap = std::map<std::string, std::string>;

bool is_letter_or_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A plain file name ending in .safetensors: no folder, no "..", no leading dot. Only this check keeps a shard inside
// the model folder.
bool is_plain_shard_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || !name.ends_with(".safetensors")) return false;
  if (name.find("..") != std::string_view::npos || !is_letter_or_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

// Buffers that older converters saved and that the model computes itself.
bool is_ignored(std::string_view name, const HfModelConfig& config) {
  return name.ends_with(".rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
}

[[noreturn]] void refuse_without_safetensors(const std::string& folder) {
  for (const std::string& name : list_directory(folder))
    for (const char* ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
      if (name.ends_with(ending))
        throw Error(Diagnostic("E0202", "found " + escape_for_log(name) + ", no *.safetensors")
                        .at(folder)
                        .note("pickle files can run code when they are loaded, so they are never read")
                        .help("download the safetensors version of the model"));
  throw Error(Diagnostic("E0203", "no model.safetensors and no model.safetensors.index.json in " + folder)
                  .help("give the folder of a Hugging Face model"));
}

// model.safetensors.index.json: which shard holds which tensor.
class IndexReader {
 public:
  IndexReader(const std::string& text, std::string path) : text_(text), path_(std::move(path)) {}

  WeightMap read() {
    JsonProblem problem;
    auto root = parse_json(text_, {.bytes = kMaxJsonFile, .depth = kMaxIndexDepth}, problem);
    if (!root) throw Error(Diagnostic("E0214", problem.message).at(location(problem.offset)).help(kDownloadAgain));
    root_ = std::move(*root);
    const JsonValue* map = root_.find("weight_map");
    if (!map || !map->is_object() || map->members.empty())
      throw Error(Diagnostic("E0204", "the index has no `weight_map`").at(location(0)).help(kDownloadAgain));
    WeightMap weight_map;
    for (const auto& [tensor, shard] : map->members) {
      check_shard_name(shard);
      weight_map[tensor] = shard.text;
    }
    return weight_map;
  }

  void check_total(std::uint64_t bytes) const {
    const JsonValue* metadata = root_.find("metadata");
    const JsonValue* total = metadata ? metadata->find("total_size") : nullptr;
    if (!total || total->as_unsigned() == bytes) return;
    log_warning(Diagnostic("W0201", concat("`metadata.total_size` is ", escape_for_log(total->text),
                                           ", the tensors have ", bytes, " bytes"))
                    .at(location(total->offset)));
  }

 private:
  SourceLocation location(std::size_t offset) const { return location_of(path_, text_, offset); }

  void check_shard_name(const JsonValue& shard) const {
    if (shard.is_string() && is_plain_shard_name(shard.text)) return;
    throw Error(Diagnostic("E0201", "shard name is not a plain file name: \"" + escape_for_log(shard.text) + "\"")
                    .at(location(shard.offset))
                    .note("such a name could lead out of the model folder, so no shard was opened")
                    .help(kDownloadModelAgain));
  }

  const std::string& text_;
  std::string path_;
  JsonValue root_;
};

// Compares the tensors of the files with those that the architecture needs. Reports all problems together.
class TensorTable {
 public:
  TensorTable(const std::string& folder, const HfModelConfig& config, const WeightMap& weight_map)
      : folder_(folder), config_(config), weight_map_(weight_map) {
    for (auto& [name, shape] : expected_tensors(config)) expected_[name] = shape;
  }

  // True if the tensor is one of the model's.
  bool add(const TensorEntry& entry, const std::string& shard) {
    const std::string name = "`" + escape_for_log(entry.name, 200) + "`";
    if (!config_.is_nf4) refuse_quantized(entry, shard);
    found_.insert({entry.name, shard});
    if (is_ignored(entry.name, config_)) {
      log_info("tensor " + name + " is not used");
      return false;
    }
    const TensorPart part = find_part(entry.name, config_);
    const auto wanted = expected_.find(part.weight);
    if (wanted == expected_.end()) return refuse("E0208", "unexpected tensor " + name, shard);
    if (!accepted_.insert(entry.name).second) return refuse("E0208", "tensor " + name + " is in two shards", shard);
    if (!weight_map_.empty() && !is_mapped(entry.name, shard))
      return refuse("E0208", "tensor " + name + " is not where the index says", shard);
    if (part.role != TensorRole::kValues) return true;  // its size is checked against the quant_state
    const bool known =
        entry.dtype == FileDType::kBf16 || entry.dtype == FileDType::kF16 || entry.dtype == FileDType::kF32;
    if (known && entry.shape == wanted->second) return true;
    return refuse("E0209",
                  concat(name, " is ", dtype_name(entry.dtype), " [", shape_text(entry.shape),
                         "], expected BF16, F16 or F32 [", shape_text(wanted->second), "]"),
                  shard);
  }

  void finish() {
    // Expected tensors that are missing or in another shard have their own message.
    for (const auto& [name, shard] : weight_map_)
      if (!expected_.contains(find_part(name, config_).weight) && !found_.contains({name, shard}))
        refuse("E0208", "the index names tensor `" + escape_for_log(name, 200) + "`, which its shard does not have",
               shard);
    for (const auto& [name, shape] : expected_)
      if (!accepted_.contains(name))
        problems_.add(Diagnostic("E0208", "tensor `" + name + "` is missing")
                          .at(folder_)
                          .note(concat(accepted_.size(), " of ", expected_.size(), " found"))
                          .help(kDownloadModelAgain));
    problems_.throw_if_errors();
  }

 private:
  bool is_mapped(const std::string& name, const std::string& shard) const {
    const auto mapped = weight_map_.find(name);
    return mapped != weight_map_.end() && mapped->second == shard;
  }

  bool refuse(const char* code, const std::string& message, const std::string& shard) {
    problems_.add(Diagnostic(code, message).at(join_path(folder_, shard)));
    return false;
  }

  void refuse_quantized(const TensorEntry& entry, const std::string& shard) const {
    if (entry.name.find(".quant_state.bitsandbytes__") == std::string::npos) return;
    throw Error(Diagnostic("E0216", "this base is quantized (`" + escape_for_log(entry.name, 200) +
                                        "`), but its config.json does not say how")
                    .at(join_path(folder_, shard))
                    .help("use its config.json with `quantization_config`, or the 16-bit weights"));
  }

  const std::string& folder_;
  const HfModelConfig& config_;
  const WeightMap& weight_map_;
  Shapes expected_;
  std::set<std::string, std::less<>> accepted_;          // expected tensors that were met
  std::set<std::pair<std::string, std::string>> found_;  // every tensor met, with its shard
  Diagnostics problems_;
};

}  // namespace

HfModel HfModel::open(const std::string& folder) {
  if (!is_directory(folder)) throw Error(Diagnostic("E0108", "`base_model` is not a folder: " + folder));
  HfModel model;
  model.folder_ = folder;
  model.config_json_ = read_whole_file(InputFile::open_in(folder, "config.json", "E0203"), kMaxJsonFile, "E0214");
  model.config_ = parse_model_config(model.config_json_, join_path(folder, "config.json"));
  WeightMap weight_map;
  if (path_exists(join_path(folder, kIndexName))) {
    model.open_index(weight_map);
  } else if (path_exists(join_path(folder, kSingleName))) {
    model.open_shards({kSingleName});
  } else {
    refuse_without_safetensors(folder);
  }
  model.collect_tensors(weight_map);
  return model;
}

void HfModel::open_index(WeightMap& weight_map) {
  index_json_ = read_whole_file(InputFile::open_in(folder_, kIndexName, "E0203"), kMaxJsonFile, "E0214");
  IndexReader index(index_json_, join_path(folder_, kIndexName));
  weight_map = index.read();
  std::set<std::string> names;
  for (const auto& [tensor, shard] : weight_map) names.insert(shard);
  if (names.size() > kMaxShards)
    throw Error(Diagnostic("E0204", concat("more than ", kMaxShards, " shards")).at(join_path(folder_, kIndexName)));
  open_shards({names.begin(), names.end()});
  std::uint64_t bytes = 0;
  for (const SafetensorsFile& file : files_)
    for (const TensorEntry& entry : file.tensors()) bytes += entry.bytes();
  index.check_total(bytes);
}

void HfModel::open_shards(const std::vector<std::string>& names) {
  std::size_t tensors = 0;
  for (const std::string& name : names) {
    files_.push_back(SafetensorsFile::open(InputFile::open_in(folder_, name, "E0203")));
    shards_.push_back({name, files_.back().file().size()});
    tensors += files_.back().tensors().size();
    if (tensors > kMaxTensors)
      throw Error(Diagnostic("E0208", concat("the shards have more than ", kMaxTensors, " tensors")).at(folder_));
  }
}

void HfModel::collect_tensors(const WeightMap& weight_map) {
  TensorTable table(folder_, config_, weight_map);
  for (std::size_t shard = 0; shard < files_.size(); ++shard) {
    for (const TensorEntry& entry : files_[shard].tensors()) {
      if (!table.add(entry, shards_[shard].name)) continue;
      by_name_[entry.name] = tensors_.size();
      const TensorPart part = find_part(entry.name, config_);
      tensors_.push_back({entry.name, entry.dtype, entry.shape, shard, entry, part.role, part.weight, nullptr});
    }
  }
  table.finish();
  read_nf4_headers();
}

}  // namespace shori
