#include "shori/io/hf_model.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "shori/io/half.h"
#include "shori/io/limits.h"
#include "shori/util/bf16.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
constexpr std::uint64_t kPiece = 4u << 20;

// One plain file name ending in .safetensors: no folder, no "..", no leading dot. This alone keeps a shard inside the model folder.
bool is_plain_shard_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || !name.ends_with(".safetensors") || name.find("..") != std::string_view::npos) return false;
  if (!std::isalnum(static_cast<unsigned char>(name.front()))) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

// Buffers that older converters saved and that the model computes itself.
bool is_ignored(std::string_view name, const HfModelConfig& config) {
  return name.ends_with("rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight");
}

[[noreturn]] void refuse_without_safetensors(const std::string& folder) {
  for (const std::string& name : list_directory(folder))
    for (const char* ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
      if (name.ends_with(ending))
        throw Error(Diagnostic("E0202", "found " + escape_for_log(name) + ", no *.safetensors")
                        .at(folder)
                        .note("pickle files can run code when read; they are never read")
                        .cure("get the safetensors copy"));
  throw Error(Diagnostic("E0203", "no model.safetensors and no model.safetensors.index.json in " + folder).cure("name a Hugging Face model folder"));
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

struct IndexText {
  const std::string& text;
  std::string path;
  SourcePlace place(std::size_t offset) const {
    const TextPosition position = position_of(text, std::min(offset, text.size()));
    return {path, position.line, position.column, 0, std::string(position.line_text)};
  }
};

}  // namespace

HfModel HfModel::open(const std::string& folder) {
  if (!is_directory(folder)) throw Error(Diagnostic("E0108", "`base_model` is not a folder: " + folder));
  HfModel model;
  model.folder_ = folder;
  model.config_json_ = read_whole_file(InputFile::open_in(folder, "config.json", "E0204"), kMaxJsonFile, "E0204");
  model.config_ = parse_model_config(model.config_json_, join_path(folder, "config.json"));
  std::map<std::string, std::string> weight_map;
  if (path_exists(join_path(folder, kIndexName))) {
    model.open_index(weight_map);
  } else if (path_exists(join_path(folder, kSingleName)) || is_symlink(join_path(folder, kSingleName))) {
    model.open_shards({kSingleName});
  } else {
    refuse_without_safetensors(folder);
  }
  model.collect_tensors(weight_map);
  return model;
}

void HfModel::open_index(std::map<std::string, std::string>& weight_map) {
  index_json_ = read_whole_file(InputFile::open_in(folder_, kIndexName, "E0203"), kMaxJsonFile, "E0204");
  const IndexText index{index_json_, join_path(folder_, kIndexName)};
  JsonProblem problem;
  const auto root = parse_json(index_json_, {.bytes = kMaxJsonFile, .depth = kMaxIndexDepth}, problem);
  if (!root) throw Error(Diagnostic(problem.duplicate_key ? "E0214" : "E0204", problem.message).at(index.place(problem.offset)).cure("get the file again"));
  const JsonValue* map = root->find("weight_map");
  if (!map || !map->is_object() || map->members.empty())
    throw Error(Diagnostic("E0204", "the index has no `weight_map`").at(index.place(0)).cure("get the file again"));
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map->members) {
    if (!shard.is_string() || !is_plain_shard_name(shard.text))
      throw Error(Diagnostic("E0201", "shard name leaves the model folder: \"" + escape_for_log(shard.text) + "\"")
                      .at(index.place(shard.offset))
                      .note("refused before opening")
                      .cure("get the model again from its publisher"));
    weight_map[tensor] = shard.text;
    names.insert(shard.text);
  }
  if (names.size() > kMaxShards) throw Error(Diagnostic("E0204", "more than 1,000 shards").at(index.place(map->offset)));
  open_shards({names.begin(), names.end()});
  const JsonValue* metadata = root->find("metadata");
  const JsonValue* total = metadata ? metadata->find("total_size") : nullptr;
  std::uint64_t bytes = 0;
  for (const SafetensorsFile& file : files_)
    for (const TensorEntry& entry : file.tensors()) bytes += entry.bytes();
  if (total && total->as_unsigned() != bytes)
    log_warning(Diagnostic("W0201", "`metadata.total_size` is " + escape_for_log(total->text) + ", the tensors have " + std::to_string(bytes) + " bytes")
                    .at(index.place(total->offset)));
}

void HfModel::open_shards(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    files_.push_back(SafetensorsFile::open(InputFile::open_in(folder_, name, "E0203")));
    shards_.push_back({name, files_.back().file().size()});
  }
}

void HfModel::collect_tensors(const std::map<std::string, std::string>& weight_map) {
  std::map<std::string, std::vector<std::int64_t>> expected;
  for (auto& [name, shape] : expected_tensors(config_)) expected[name] = shape;
  Diagnostics problems;
  std::set<std::string> found;
  for (std::size_t shard = 0; shard < files_.size(); ++shard) {
    for (const TensorEntry& entry : files_[shard].tensors()) {
      const std::string file = join_path(folder_, shards_[shard].name), name = escape_for_log(entry.name, 200);
      if (is_ignored(entry.name, config_)) {
        log_info("tensor " + name + " is not used");
        continue;
      }
      const auto wanted = expected.find(entry.name);
      const auto mapped = weight_map.find(entry.name);
      if (wanted == expected.end()) {
        problems.add(Diagnostic("E0208", "unexpected tensor `" + name + "`").at(file));
      } else if (!found.insert(entry.name).second) {
        problems.add(Diagnostic("E0208", "tensor `" + name + "` is in two shards").at(file));
      } else if (!weight_map.empty() && (mapped == weight_map.end() || mapped->second != shards_[shard].name)) {
        problems.add(Diagnostic("E0208", "tensor `" + name + "` is not where the index says").at(file));
      } else if (entry.shape != wanted->second || (entry.dtype != FileDType::kBf16 && entry.dtype != FileDType::kF16 && entry.dtype != FileDType::kF32)) {
        problems.add(Diagnostic("E0209", "`" + name + "` is " + std::string(dtype_name(entry.dtype)) + " [" + shape_text(entry.shape) +
                                             "], expected BF16, F16 or F32 [" + shape_text(wanted->second) + "]")
                         .at(file));
      } else {
        by_name_[entry.name] = tensors_.size();
        tensors_.push_back({entry.name, entry.dtype, entry.shape, shard, entry});
      }
    }
  }
  for (const auto& [name, shape] : expected)
    if (!found.contains(name))
      problems.add(Diagnostic("E0208", "tensor `" + name + "` is missing")
                       .at(folder_)
                       .note(std::to_string(found.size()) + " of " + std::to_string(expected.size()) + " found")
                       .cure("get the model again from its publisher"));
  problems.throw_if_errors();
}

const HfTensor* HfModel::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::uint64_t HfModel::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const HfTensor& tensor : tensors_) bytes += tensor.entry.bytes();
  return bytes;
}

void HfModel::read_bytes(const HfTensor& tensor, std::uint64_t offset, void* into, std::uint64_t bytes) const {
  const SafetensorsFile& file = files_[tensor.shard];
  file.read(tensor.entry, offset, into, bytes);
  // Weights are read once: keeping their pages would push more useful ones out of memory.
  (void)posix_fadvise(file.file().descriptor(), static_cast<off_t>(file.data_start() + tensor.entry.begin + offset), static_cast<off_t>(bytes),
                      POSIX_FADV_DONTNEED);
}

void HfModel::read_rows(const HfTensor& tensor, std::int64_t first, std::int64_t count, float* out) const {
  const std::uint64_t size = dtype_size(tensor.dtype);
  const std::uint64_t values = static_cast<std::uint64_t>(count * tensor.cols());
  const std::uint64_t offset = static_cast<std::uint64_t>(first * tensor.cols()) * size;
  if (tensor.dtype == FileDType::kF32) return read_bytes(tensor, offset, out, values * size);
  std::vector<std::uint16_t> bits(values);
  read_bytes(tensor, offset, bits.data(), values * size);
  if (tensor.dtype == FileDType::kBf16)
    for (std::uint64_t i = 0; i < values; ++i) out[i] = to_float(Bf16{bits[i]});
  else
    for (std::uint64_t i = 0; i < values; ++i) out[i] = half_to_float(bits[i]);
}

std::string HfModel::fingerprint(const Report& report) const {
  std::map<std::string, Sha256Digest> digests;
  const std::uint64_t total = tensor_bytes();
  std::vector<std::uint8_t> buffer(kPiece);
  std::uint64_t done = 0;
  for (const HfTensor& tensor : tensors_) {
    Sha256 hash;
    for (std::uint64_t offset = 0; offset < tensor.entry.bytes();) {
      throw_if_stop_requested();
      const std::uint64_t count = std::min(kPiece, tensor.entry.bytes() - offset);
      files_[tensor.shard].read(tensor.entry, offset, buffer.data(), count);
      hash.update(buffer.data(), count);
      offset += count;
      done += count;
      if (report) report(done, total);
    }
    digests[tensor.name] = hash.finish();
  }
  Sha256 all;
  for (const auto& [name, digest] : digests) {
    const HfTensor& tensor = *find(name);
    all.update(name).update("\0", 1).update(dtype_name(tensor.dtype)).update("\0", 1);
    all.update(shape_text(tensor.shape)).update("\0", 1).update(digest.data(), digest.size());
  }
  return to_hex(all.finish());
}

std::string HfModel::header_fingerprint() const {
  Sha256 hash;
  hash.update(config_json_);
  for (std::size_t i = 0; i < shards_.size(); ++i)
    hash.update(shards_[i].name).update("\0", 1).update(std::to_string(shards_[i].size)).update("\0", 1).update(files_[i].header_sha256());
  return to_hex(hash.finish());
}

}  // namespace shori
