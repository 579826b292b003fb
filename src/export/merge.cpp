#include "shori/export/merge.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "shori/io/half.h"
#include "shori/io/hf_model.h"
#include "shori/io/safetensors_writer.h"
#include "shori/quant/nf4.h"
#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"
#include "shori/util/bf16.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"

namespace shori {
namespace {

constexpr std::int64_t kValuesAtOnce = 1 << 22;  // fp32 values of one piece: 16 MiB
constexpr double kProbeTolerance = 1e-2;         // relative L2 of 16-bit rounding is about 2e-3

// Copied byte for byte where present; config.json is edited, the weights are written anew.
constexpr const char* kCopiedFiles[] = {"tokenizer.model",         "tokenizer.json",    "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json", "generation_config.json"};

// fp32 values of an encoded 16-bit tensor, and back.
struct Rounding {
  std::int64_t vanished = 0;  // values that became zero or subnormal in f16

  std::uint16_t encode(float value, MergeDType dtype, const std::string& tensor) {
    if (dtype == MergeDType::kBf16) return to_bf16(value).bits;
    const std::uint16_t bits = float_to_half(value);
    if (std::isfinite(value) && (bits & 0x7c00) == 0x7c00)
      throw Error(Diagnostic("E0804", tensor + " holds " + std::to_string(value) + ", beyond the range of float16")
                      .help("`--dtype bf16`"));
    if (value != 0.0f && (bits & 0x7c00) == 0) ++vanished;
    return bits;
  }
};

float decode(std::uint16_t bits, MergeDType dtype) {
  return dtype == MergeDType::kBf16 ? to_float(Bf16{bits}) : half_to_float(bits);
}

std::string module_of(const std::string& tensor) {
  constexpr std::string_view kEnd = ".weight";
  return tensor.ends_with(kEnd) ? tensor.substr(0, tensor.size() - kEnd.size()) : tensor;
}

class Merger {
 public:
  Merger(const MergeOptions& options, const HfModel& base, const ExportSource& source)
      : options_(options),
        base_(base),
        source_(source),
        written_(options.dtype == MergeDType::kBf16 ? FileDType::kBf16 : FileDType::kF16) {}

  void write_all_shards(const std::string& folder) {
    for (std::size_t shard = 0; shard < base_.shards().size(); ++shard) write_shard(folder, shard);
    if (rounding_.vanished > 0)
      log_info(std::to_string(rounding_.vanished) + " values became zero or subnormal in float16");
    check_changes();
  }

  // Re-reads everything: bytes as written, and W' x against W x + s B (A x) for a random x.
  void verify(const std::string& folder) {
    for (std::size_t shard = 0; shard < base_.shards().size(); ++shard) {
      const SafetensorsFile file =
          SafetensorsFile::open(InputFile::open_in(folder, base_.shards()[shard].name, "E0804"));
      for (const TensorEntry& entry : file.tensors()) {
        throw_if_stop_requested();
        std::vector<std::uint16_t> bits(entry.bytes() / 2);
        file.read(entry, 0, bits.data(), entry.bytes());
        if (to_hex(sha256(bits.data(), entry.bytes())) != hashes_.at(entry.name))
          throw Error(Diagnostic("E0804", "re-reading the export failed: tensor `" + entry.name +
                                              "` differs from what was written")
                          .at(file.file().path()));
        if (source_.find(module_of(entry.name), "lora_A")) probe(entry, bits);
      }
    }
  }

 private:
  std::vector<const HfTensor*> tensors_of(std::size_t shard) const {
    std::vector<const HfTensor*> result;
    for (const HfTensor& tensor : base_.tensors())
      if (tensor.shard == shard) result.push_back(&tensor);
    return result;
  }

  void write_shard(const std::string& folder, std::size_t shard) {
    const std::vector<const HfTensor*> tensors = tensors_of(shard);
    std::vector<NamedArray> arrays;
    for (const HfTensor* tensor : tensors) arrays.push_back({tensor->name, written_, tensor->shape});
    const std::string path = join_path(folder, base_.shards()[shard].name);
    try {
      SafetensorsWriter file(path, arrays, {{"format", "pt"}});
      for (const HfTensor* tensor : tensors) write_tensor(*tensor, file);
      file.finish();
    } catch (const IoFailure& failure) {
      throw Error(Diagnostic("E0512", concat("writing ", path, " failed: ", error_text(failure.error)))
                      .note("nothing is left under the target's name"));
    }
  }

  void write_tensor(const HfTensor& tensor, SafetensorsWriter& file) {
    const NamedArray* a = source_.find(module_of(tensor.name), "lora_A");
    const NamedArray* b = source_.find(module_of(tensor.name), "lora_B");
    if (a && b && (a->shape[1] != tensor.cols() || b->shape[0] != tensor.rows()))
      throw Error(Diagnostic("E0511", "the adapter's shapes do not fit `" + tensor.name + "`").at(source_.file.path()));
    std::optional<Nf4Tensor> nf4;
    if (a && options_.merge_base == MergeBase::kNf4) nf4 = quantize(tensor);
    Sha256 hash;
    Rounding plain;  // of the base alone, to see what the adapter changed
    bool changed = false;
    const std::int64_t step = std::max<std::int64_t>(1, kValuesAtOnce / tensor.cols());
    for (std::int64_t row = 0; row < tensor.rows(); row += step) {
      throw_if_stop_requested();
      const std::int64_t rows = std::min(step, tensor.rows() - row);
      std::vector<float> values(static_cast<std::size_t>(rows * tensor.cols()));
      base_.read_rows(tensor, row, rows, values.data());
      const std::vector<float> before = a ? values : std::vector<float>();
      if (nf4) dequantize_nf4(*nf4, row * tensor.cols(), values);
      if (a) add_adapter(*a, *b, row, rows, values);
      std::vector<std::uint16_t> bits(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        bits[i] = rounding_.encode(values[i], options_.dtype, tensor.name);
        if (a && !changed) changed = bits[i] != plain.encode(before[i], options_.dtype, tensor.name);
      }
      file.append(bits.data(), bits.size() * 2);
      hash.update(bits.data(), bits.size() * 2);
      progress_.update("merging " + tensor.name);
    }
    if (a && changed) changed_.insert(tensor.name);
    hashes_[tensor.name] = to_hex(hash.finish());
  }

  Nf4Tensor quantize(const HfTensor& tensor) {
    Nf4Quantizer quantizer(tensor.rows(), tensor.cols(), usable_cores());
    const std::int64_t step = std::max<std::int64_t>(1, kValuesAtOnce / tensor.cols());
    for (std::int64_t row = 0; row < tensor.rows(); row += step) {
      std::vector<float> values(static_cast<std::size_t>(std::min(step, tensor.rows() - row) * tensor.cols()));
      base_.read_rows(tensor, row, std::min(step, tensor.rows() - row), values.data());
      if (const auto bad = quantizer.add(values))
        throw Error(Diagnostic(
            "E0210", "`" + tensor.name + "` holds a value that is not finite at element " + std::to_string(*bad)));
    }
    return quantizer.finish();
  }

  // values += scaling * (B . A), rows row .. row + rows - 1.
  void add_adapter(const NamedArray& a, const NamedArray& b, std::int64_t row, std::int64_t rows,
                   std::vector<float>& values) const {
    const c10::InferenceMode no_autograd;
    const std::int64_t rank = a.shape[0];
    const at::Tensor a_view = at::from_blob(a.data, {rank, a.shape[1]}, at::kFloat);
    const at::Tensor b_view = at::from_blob(b.values<float>().data() + row * rank, {rows, rank}, at::kFloat);
    const at::Tensor delta = at::mm(b_view, a_view);
    const float* d = delta.const_data_ptr<float>();
    const float scaling = source_.scaling();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += scaling * d[i];
  }

  // A factor B of zeros adds nothing: such a module may stay as it is.
  void check_changes() const {
    std::size_t expected = 0, moved = 0;
    std::string unchanged;
    for (const HfTensor& tensor : base_.tensors()) {
      const NamedArray* b = source_.find(module_of(tensor.name), "lora_B");
      if (!b) continue;
      ++expected;
      if (changed_.contains(tensor.name))
        ++moved;
      else
        unchanged += " " + tensor.name;
    }
    if (moved == expected && expected * 2 == source_.tensors.size()) return;
    throw Error(Diagnostic("E0801", "merge changed " + std::to_string(moved) + " of " +
                                        std::to_string(base_.tensors().size()) + " tensors, expected " +
                                        std::to_string(source_.tensors.size() / 2))
                    .note(unchanged.empty() ? "the adapter has modules that this base does not"
                                            : "unchanged:" + unchanged.substr(0, 300))
                    .help("check that adapter and base belong together, and that the adapter was trained"));
  }

  void probe(const TensorEntry& entry, const std::vector<std::uint16_t>& bits) const {
    const HfTensor& tensor = *base_.find(entry.name);
    const NamedArray &a = *source_.find(module_of(entry.name), "lora_A"),
                     &b = *source_.find(module_of(entry.name), "lora_B");
    std::mt19937 random(7);
    std::vector<double> x(static_cast<std::size_t>(tensor.cols()));
    for (double& value : x) value = static_cast<double>(random()) / 4294967296.0 - 0.5;
    const auto rank = static_cast<std::size_t>(a.shape[0]);
    const std::span<const float> a_values = a.values<float>(), b_values = b.values<float>();
    std::vector<double> ax(rank, 0.0);
    for (std::size_t r = 0; r < rank; ++r)
      for (std::size_t k = 0; k < x.size(); ++k) ax[r] += a_values[r * x.size() + k] * x[k];
    double error = 0, size = 0;
    std::vector<float> row(static_cast<std::size_t>(tensor.cols()));
    const std::int64_t step = std::max<std::int64_t>(1, tensor.rows() / 256);  // at most 512 rows a tensor
    for (std::int64_t i = 0; i < tensor.rows(); i += step) {
      double wanted = 0, got = 0;
      if (options_.merge_base == MergeBase::kOriginal) {
        base_.read_rows(tensor, i, 1, row.data());
        for (std::size_t k = 0; k < row.size(); ++k) wanted += row[k] * x[k];
        for (std::size_t r = 0; r < rank; ++r)
          wanted += source_.scaling() * b_values[static_cast<std::size_t>(i) * rank + r] * ax[r];
      }
      for (std::size_t k = 0; k < row.size(); ++k)
        got += decode(bits[static_cast<std::size_t>(i) * row.size() + k], options_.dtype) * x[k];
      error += (got - wanted) * (got - wanted);
      size += wanted * wanted;
    }
    if (options_.merge_base == MergeBase::kOriginal && std::sqrt(error) > kProbeTolerance * std::sqrt(size))
      throw Error(Diagnostic("E0803", "exported `" + entry.name + "` differs from base + adapter: relative " +
                                          std::to_string(std::sqrt(error / size)))
                      .help("report it"));
  }

  const MergeOptions& options_;
  const HfModel& base_;
  const ExportSource& source_;
  FileDType written_;
  Rounding rounding_;
  Progress progress_{2};
  std::map<std::string, std::string> hashes_;  // SHA-256 of each tensor written
  std::set<std::string> changed_;
};

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
                  .note("base fingerprint " + fingerprint.substr(0, 8) + ", the adapter was trained on " +
                        source.base_fingerprint().substr(0, 8))
                  .help("name the folder of that base with `--base`"));
}

void copy_file(const std::string& from, const std::string& to, const std::string& name) {
  write_file_atomically(to, name, read_whole_file(InputFile::open_in(from, name, "E0203"), 256u << 20, "E0804"));
}

}  // namespace

void export_merged(const MergeOptions& options) {
  const std::string out = check_target(options.out, options.base, options.force);
  const ExportSource source = open_export_source(options.source);
  BaseModel base;
  base.folder = options.base;
  base.model = std::make_unique<HfModel>(HfModel::open(options.base));
  if (base.model->config().is_nf4)
    throw Error(Diagnostic("E0216", "a merge needs 16-bit weights, this base is NF4 already")
                    .at(options.base)
                    .help("name the folder of the 16-bit base with `--base`"));
  Progress progress(5);
  const std::string fingerprint = base.model->fingerprint([&](std::uint64_t done, std::uint64_t total) {
    progress.update("checking the base: " + format_bytes(done) + " of " + format_bytes(total));
  });
  check_base(*base.model, source, fingerprint);

  make_directories(parent_path(out));
  const std::string partial = join_path(parent_path(out), "." + file_name(out) + ".partial");
  std::filesystem::remove_all(partial);
  make_directories(partial);
  Merger merger(options, *base.model, source);
  try {
    merger.write_all_shards(partial);
    merger.verify(partial);
    write_file_atomically(partial, "config.json", edited_config(*base.model, options.dtype));
    if (!base.model->index_json().empty())
      write_file_atomically(partial, "model.safetensors.index.json", edited_index(*base.model));
    for (const char* name : kCopiedFiles)
      if (path_exists(join_path(options.base, name))) copy_file(options.base, partial, name);
    std::map<std::string, std::string> files;
    for (const std::string& name : list_directory(partial))
      files[name] = sha256_of_file(InputFile::open_in(partial, name, "E0804"));
    const char* merge_base = options.merge_base == MergeBase::kOriginal ? "original" : "nf4";
    write_file_atomically(partial, "shori_export.json",
                          export_record(source, base_model_name(base), fingerprint, merge_base, files));
  } catch (...) {
    // Nothing half-written stays behind, not even under the temporary name.
    std::error_code ignored;
    std::filesystem::remove_all(partial, ignored);
    throw;
  }
  publish_folder(partial, out);
  log_info("wrote " + out + ": " + std::to_string(base.model->tensors().size()) + " tensors, " +
           std::to_string(source.tensors.size() / 2) + " merged");
}

}  // namespace shori
