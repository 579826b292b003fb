#include <algorithm>
#include <map>
#include <set>

#include "shori/train/run_identity.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/export/gguf/gguf_metadata.h"
#include "src/export/gguf/gguf_names.h"
#include "src/export/gguf/gguf_values.h"
#include "src/export/gguf/write_gguf.h"
#include "src/export/merged_chunks.h"
#include "src/export/merged_weights.h"
#include "src/export/weight_probe.h"
#include "src/export/write_exports.h"

namespace shori {
namespace {

GgufType tensor_type(GgufModelType type) {
  switch (type) {
    case GgufModelType::kF32:
      return GgufType::kF32;
    case GgufModelType::kF16:
      return GgufType::kF16;
    case GgufModelType::kBf16:
      return GgufType::kBf16;
    case GgufModelType::kQ8_0:
      break;
  }
  return GgufType::kQ8_0;
}

// Of a probe, as relative L2 norm: above the rounding of the type, far below that of a wrong row.
double probe_tolerance(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return 1e-4;
    case GgufType::kF16:
    case GgufType::kBf16:
      return 1e-2;
    case GgufType::kQ8_0:
      break;
  }
  return 5e-2;
}

// A merged model records its base in shori_export.json; without an adapter or that file the base is not known.
std::string name_of_base(const BaseModel& base, const ExportSource* adapter) {
  if (adapter) return adapter->settings.base_name.empty() ? base_model_name(base) : adapter->settings.base_name;
  const std::string path = join_path(base.folder, "shori_export.json");
  if (!path_exists(path)) return "";
  JsonProblem problem;
  const auto record = parse_json(read_whole_file(InputFile::open(path), 64u << 20, "E0804"), {}, problem);
  const JsonValue* recorded = record ? record->find("base") : nullptr;
  return recorded ? text_member(*recorded, "name") : "";
}

TokenizerModel read_tokenizer(const BaseModel& base) {
  const InputFile file = InputFile::open_in(base.folder, "tokenizer.model");
  const std::string bytes = read_whole_file(file, kTokenizerFileBytes, "E0211");
  return parse_tokenizer_model(bytes, file.path(), base.model->config().vocab_size);
}

class ModelWriter {
 public:
  explicit ModelWriter(const GgufJob& job)
      : options_(job.options),
        base_(job.base),
        adapter_(job.adapter),
        check_base_(job.check_base && adapter_ && !adapter_->base_fingerprint().empty()),
        file_hash_(job.file_hash),
        weights_(gguf_weights(*base_.model, tensor_type(options_.type))) {}

  void write(const std::string& out) {
    GgufWriter file(out, header(), file_hash_);
    write_weights(file);
    if (check_base_) (void)check_base(base_, *adapter_, base_digests_);
    if (adapter_) check_changes(*base_.model, *adapter_, changed_);
    file.finish();
    const GgufFile written = file.verify();
    // From NF4 weights, W x would be that of the quantized base.
    if (options_.merge_base == MergeBase::kOriginal)
      for (std::size_t i = 0; i < weights_.size(); ++i) probe(weights_[i], written, i);
    file.publish();
  }

 private:
  GgufHeader header() const {
    const TokenizerModel tokenizer = read_tokenizer(base_);
    std::int64_t parameters = 0;
    GgufHeader header;
    for (const GgufWeight& weight : weights_) {
      header.tensors.push_back(weight.target);
      parameters += static_cast<std::int64_t>(weight.target.count());
    }
    const std::string name = !options_.name.empty() ? options_.name
                             : adapter_             ? default_name(*adapter_)
                                                    : escape_for_log(file_name(absolute_path(base_.folder)));
    header.entries =
        model_entries({base_.model->config(), tokenizer, name, name_of_base(base_, adapter_), parameters, options_.type,
                       options_.sampling, options_.eot, options_.license, options_.license_link, options_.languages});
    return header;
  }

  std::int64_t head_dim() const { return base_.model->config().head_dim; }

  void write_weights(GgufWriter& file) {
    ByteProgress progress("writing", file.header().data_bytes());
    std::vector<MergeSource> sources;
    sources.reserve(weights_.size());
    for (const GgufWeight& weight : weights_) sources.push_back({weight.source, weight.permuted ? head_dim() : 1});
    for_each_merged_chunk(
        {*base_.model, adapter_, options_.merge_base, std::move(sources), check_base_ ? &base_digests_ : nullptr},
        [&](const MergedChunk& chunk, std::byte* out) { return encoded_chunk(weights_[chunk.index], chunk, out); },
        [&](const ChunkPosition& chunk, const EncodedChunk& encoded) {
          file.append(encoded.bytes.data(), encoded.bytes.size());
          progress.add(encoded.bytes.size());
          if (encoded.changed) changed_.insert(chunk.tensor->name);
        });
    progress.finish();
  }

  std::uint64_t row_bytes(const GgufWeight& weight) const {
    return bytes_of(weight.target.type, static_cast<std::uint64_t>(weight.source->cols()));
  }

  EncodedChunk encoded_chunk(const GgufWeight& weight, const MergedChunk& chunk, std::byte* out) const {
    const std::uint64_t bytes = row_bytes(weight);
    for (std::int64_t i = 0; i < chunk.rows; ++i) {
      const std::int64_t row = weight.permuted ? rotated_half_row(i, head_dim()) : i;
      encode_gguf_values(weight.target.type, chunk.row(row), out + static_cast<std::uint64_t>(i) * bytes,
                         weight.source->name);
    }
    return {{out, static_cast<std::uint64_t>(chunk.rows) * bytes}, chunk.is_adapted && is_changed(weight, chunk, out)};
  }

  // Whether a written row is not that of the base. Almost always the first one says so.
  bool is_changed(const GgufWeight& weight, const MergedChunk& chunk, const std::byte* written) const {
    std::vector<float> row;
    std::vector<std::byte> bytes(row_bytes(weight));
    for (std::int64_t i = 0; i < chunk.rows; ++i, written += bytes.size()) {
      chunk.base_row(weight.permuted ? rotated_half_row(i, head_dim()) : i, row);
      encode_gguf_values(weight.target.type, row, bytes.data(), weight.source->name);
      if (!std::equal(bytes.begin(), bytes.end(), written)) return true;
    }
    return false;
  }

  void probe(const GgufWeight& weight, const GgufFile& written, std::size_t index) const {
    throw_if_stop_requested();
    const HfTensor& tensor = *weight.source;
    WeightProbe probe(*base_.model, adapter_, tensor);
    std::vector<float> row(static_cast<std::size_t>(tensor.cols()));
    std::vector<std::byte> bytes(row_bytes(weight));
    for (std::int64_t i = 0; i < tensor.rows(); i += probe.step()) {
      written.read(index, static_cast<std::uint64_t>(i) * bytes.size(), bytes.data(), bytes.size());
      decode_gguf_values(weight.target.type, bytes.data(), row);
      probe.add(weight.permuted ? rotated_half_row(i, head_dim()) : i, row);
    }
    probe.check(probe_tolerance(weight.target.type));
  }

  const GgufExport& options_;
  const BaseModel& base_;
  const ExportSource* adapter_;
  bool check_base_;
  Sha256* file_hash_;
  std::vector<GgufWeight> weights_;
  std::set<std::string> changed_;
  std::map<std::string, Sha256Digest> base_digests_;
};

}  // namespace

void check_gguf_base(const BaseModel& base) {
  if (base.model->config().sliding_window != 0)
    throw Error(Diagnostic("E0204", concat("the base attends to a window of ", base.model->config().sliding_window,
                                           " tokens, which llama.cpp does not do for this architecture"))
                    .at(join_path(base.folder, "config.json"))
                    .note("a model without a window, as Mistral-7B-Instruct-v0.2, has `\"sliding_window\": null`")
                    .help("`shori-export release --no-gguf` leaves these files out"));
}

void write_gguf_model(const GgufJob& job, const std::string& out) {
  check_gguf_base(job.base);
  ModelWriter(job).write(out);
}

}  // namespace shori
