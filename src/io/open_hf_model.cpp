// Opening a model folder: finds its files and checks that they have exactly the tensors that the architecture needs.
#include <algorithm>
#include <set>

#include "shori/io/hf_model.h"
#include "shori/io/limits.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/io/shape_text.h"
#include "src/io/tensor_part.h"
#include "src/io/weight_files.h"

namespace shori {
namespace {

constexpr char kOneModel[] = "download the weights and config.json of one model into the same folder";
constexpr char kDownloadModelAgain[] = "download the model from its publisher again";

using Shapes = std::map<std::string, std::vector<std::int64_t>, std::less<>>;
using WeightMap = std::map<std::string, std::string>;

// Buffers that older converters saved and that the model computes itself.
bool is_ignored(std::string_view name, const HfModelConfig& config) {
  return name.ends_with(".rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
}

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
    problems_.add(Diagnostic(code, message).at(join_path(folder_, shard)).help(kOneModel));
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
  if (!path_exists(join_path(folder, "config.json"))) refuse_without_config(folder);
  HfModel model;
  model.folder_ = folder;
  model.config_json_ = read_whole_file(InputFile::open_in(folder, "config.json", "E0203"), kMaxJsonFile, "E0214");
  model.config_ = parse_model_config(model.config_json_, join_path(folder, "config.json"));
  const WeightFiles files = find_weight_files(folder);
  model.index_json_ = files.index_json;
  model.open_shards(files.names);
  std::uint64_t bytes = 0;
  for (const SafetensorsFile& file : model.files_)
    for (const TensorEntry& entry : file.tensors()) bytes += entry.bytes();
  check_total_size(folder, files, bytes);
  model.collect_tensors(files.weight_map);
  for (const std::string& note : model.config_.notes) log_info("config.json: " + note);
  return model;
}

// Reports the problems of all shards together: whoever downloads again wants to know all of them.
void HfModel::open_shards(const std::vector<std::string>& names) {
  std::size_t tensors = 0;
  Diagnostics problems;
  for (const std::string& name : names) {
    try {
      files_.push_back(SafetensorsFile::open(InputFile::open_in(folder_, name, "E0203")));
    } catch (const Error& error) {
      problems.add(error);
      continue;
    }
    shards_.push_back({name, files_.back().file().size()});
    tensors += files_.back().tensors().size();
    if (tensors > kMaxTensors)
      throw Error(Diagnostic("E0208", concat("the shards have more than ", kMaxTensors, " tensors")).at(folder_));
  }
  problems.throw_if_errors();
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
