#include "src/export/merged_weights.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <vector>

#include "shori/io/half.h"
#include "shori/io/safetensors_writer.h"
#include "shori/model/nf4_weight.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"

namespace shori {
namespace {

// The weight as training saw it.
Nf4Weight quantized(const HfModel& base, const HfTensor& tensor) {
  Nf4Weight weight = Nf4Weight::make({tensor.rows(), tensor.cols()});
  Nf4Quantizer quantizer(weight.view(), usable_cores());
  for (const ChunkPosition& chunk : chunks_of({{&tensor}})) {
    throw_if_stop_requested();
    std::vector<float> values(static_cast<std::size_t>(chunk.rows * tensor.cols()));
    base.read_rows(tensor, chunk.first, chunk.rows, values.data());
    if (const auto bad = quantizer.add(values))
      throw Error(
          Diagnostic("E0210", concat("`", tensor.name, "` holds a value that is not finite at element ", *bad)));
  }
  weight.offset = quantizer.finish().offset;
  return weight;
}

// values += scaling * (B . A), for the rows that begin at `first`.
void add_lora(const LoraPair& lora, float scaling, std::int64_t first, std::span<float> values) {
  const c10::InferenceMode no_autograd;
  // Chunks are merged side by side, so the product of one takes one thread.
  thread_local const bool is_alone = (at::set_num_threads(1), true);
  (void)is_alone;
  const std::int64_t rank = lora.rank(), cols = lora.a->shape[1], rows = std::ssize(values) / cols;
  const at::Tensor a = at::from_blob(lora.a->data, {rank, cols}, at::kFloat);
  const at::Tensor b = at::from_blob(lora.b->values<float>().data() + first * rank, {rows, rank}, at::kFloat);
  const at::Tensor delta = at::mm(b, a);
  const float* added = delta.const_data_ptr<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += scaling * added[i];
}

bool is_zero_or_subnormal_half(std::uint16_t bits) { return (bits & 0x7c00) == 0; }
bool is_inf_or_nan_half(std::uint16_t bits) { return (bits & 0x7c00) == 0x7c00; }

// Rows of a tensor as they are written.
struct EncodedChunk {
  std::vector<std::uint16_t> bits;
  std::int64_t vanished = 0;  // values that became zero or subnormal
  bool changed = false;       // a value is not the base's
};

EncodedChunk encode(const HfTensor& tensor, std::span<const float> values, MergeDType dtype) {
  EncodedChunk chunk;
  chunk.bits.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = chunk.bits[i] = encode_value(values[i], dtype);
    if (dtype == MergeDType::kBf16) continue;
    if (is_inf_or_nan_half(bits) && std::isfinite(values[i]))
      throw Error(Diagnostic("E0804",
                             concat(tensor.name, " holds ", std::to_string(values[i]), ", beyond the range of float16"))
                      .help("`--dtype bf16`"));
    chunk.vanished += values[i] != 0.0f && is_zero_or_subnormal_half(bits) ? 1 : 0;
  }
  return chunk;
}

// Writes the shards and remembers what became of each tensor. Threads read, merge and encode chunks; this one hashes
// and writes them in order.
class WeightWriter {
 public:
  explicit WeightWriter(const MergeInput& input)
      : input_(input), dtype_(input.options.dtype), progress_("merging", merged_bytes(input.base)) {}

  std::map<std::string, std::string> write(const std::string& folder) {
    for (std::size_t shard = 0; shard < input_.base.shards().size(); ++shard) write_shard(folder, shard);
    if (vanished_ > 0) log_info(concat(vanished_, " values became zero or subnormal in float16"));
    progress_.finish();
    check_changes(input_.base, input_.adapter, changed_);
    return std::move(digests_);
  }

 private:
  void write_shard(const std::string& folder, std::size_t shard) {
    const FileDType written = dtype_ == MergeDType::kBf16 ? FileDType::kBf16 : FileDType::kF16;
    std::vector<MergeSource> tensors;
    std::vector<NamedArray> arrays;
    for (const HfTensor& tensor : input_.base.tensors()) {
      if (tensor.shard != shard) continue;
      tensors.push_back({&tensor});
      arrays.push_back({tensor.name, written, tensor.shape});
    }
    const std::string path = join_path(folder, input_.base.shards()[shard].name);
    try {
      SafetensorsWriter file(path, arrays, {{"format", "pt"}});
      write_tensors(tensors, file);
      file.finish();
    } catch (const IoFailure& failure) {
      throw Error(Diagnostic("E0512", concat("writing ", path, " failed: ", error_text(failure.error)))
                      .note("nothing is left under the target's name"));
    }
  }

  void write_tensors(const std::vector<MergeSource>& tensors, SafetensorsWriter& file) {
    Sha256 hash;
    for_each_merged_chunk(
        input_.base, &input_.adapter, input_.options.merge_base, tensors,
        [&](const MergedChunk& chunk) {
          EncodedChunk encoded = encode(*chunk.tensor, chunk.values, dtype_);
          for (std::size_t i = 0; i < chunk.before.size() && !encoded.changed; ++i)
            encoded.changed = encoded.bits[i] != encode_value(chunk.before[i], dtype_);
          return encoded;
        },
        [&](const ChunkPosition& chunk, const EncodedChunk& encoded) {
          const std::size_t bytes = encoded.bits.size() * sizeof encoded.bits[0];
          file.append(encoded.bits.data(), bytes);
          hash.update(encoded.bits.data(), bytes);
          progress_.add(bytes);
          vanished_ += encoded.vanished;
          if (encoded.changed) changed_.insert(chunk.tensor->name);
          if (!chunk.is_last) return;
          digests_[chunk.tensor->name] = to_hex(hash.finish());
          hash = Sha256();
        });
  }

  const MergeInput& input_;
  MergeDType dtype_;
  ByteProgress progress_;
  std::int64_t vanished_ = 0;
  std::set<std::string> changed_;
  std::map<std::string, std::string> digests_;
};

}  // namespace

std::optional<LoraPair> lora_of(const ExportSource& adapter, const HfTensor& tensor) {
  constexpr std::string_view kEnd = ".weight";
  if (!tensor.name.ends_with(kEnd)) return std::nullopt;
  const std::string module = tensor.name.substr(0, tensor.name.size() - kEnd.size());
  const NamedArray *a = adapter.find(module, "lora_A"), *b = adapter.find(module, "lora_B");
  if (a == nullptr && b == nullptr) return std::nullopt;
  if (a == nullptr || b == nullptr || a->shape[1] != tensor.cols() || b->shape[0] != tensor.rows() ||
      a->shape[0] != b->shape[1])
    throw Error(
        Diagnostic("E0511", concat("the adapter's shapes do not fit `", tensor.name, "`")).at(adapter.file.path()));
  return LoraPair{a, b};
}

std::vector<ChunkPosition> chunks_of(const std::vector<MergeSource>& sources) {
  std::vector<ChunkPosition> chunks;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto& [tensor, multiple] = sources[i];
    const std::int64_t step = std::max<std::int64_t>(1, kValuesAtOnce / tensor->cols() / multiple) * multiple;
    for (std::int64_t first = 0; first < tensor->rows(); first += step) {
      const std::int64_t rows = std::min(step, tensor->rows() - first);
      chunks.push_back({tensor, i, first, rows, first + rows == tensor->rows()});
    }
  }
  return chunks;
}

// What a tensor is merged from, beside its values in the base.
struct MergedTensors::Factors {
  std::once_flag once;
  std::optional<LoraPair> lora;
  std::optional<Nf4Weight> nf4;
};

MergedTensors::MergedTensors(const HfModel& base, const ExportSource* adapter, MergeBase merge_base,
                             const std::vector<MergeSource>& sources)
    : base_(base), adapter_(adapter), merge_base_(merge_base), factors_(sources.size()) {}
MergedTensors::~MergedTensors() = default;

MergedChunk MergedTensors::read(const ChunkPosition& position) {
  const HfTensor& tensor = *position.tensor;
  Factors& factors = factors_[position.index];
  std::call_once(factors.once, [&] {
    if (adapter_) factors.lora = lora_of(*adapter_, tensor);
    if (factors.lora && merge_base_ == MergeBase::kNf4) factors.nf4 = quantized(base_, tensor);
  });
  MergedChunk chunk{position, {}, {}};
  chunk.values.resize(static_cast<std::size_t>(position.rows * tensor.cols()));
  base_.read_rows(tensor, position.first, position.rows, chunk.values.data());
  if (factors.lora) chunk.before = chunk.values;
  if (factors.nf4) dequantize_nf4(factors.nf4->view(), position.first * tensor.cols(), chunk.values);
  if (factors.lora) add_lora(*factors.lora, adapter_->scaling(), position.first, chunk.values);
  return chunk;
}

void MergedTensors::forget(std::size_t index) { factors_[index].nf4.reset(); }

// A factor B of zeros adds nothing, and such a merge is refused.
void check_changes(const HfModel& base, const ExportSource& adapter, const std::set<std::string>& changed) {
  std::size_t adapted = 0;
  std::string unchanged;
  for (const HfTensor& tensor : base.tensors()) {
    if (!lora_of(adapter, tensor)) continue;
    ++adapted;
    if (!changed.contains(tensor.name)) unchanged += " " + tensor.name;
  }
  const std::size_t expected = adapter.tensors.size() / 2;
  if (changed.size() == adapted && adapted == expected) return;
  throw Error(Diagnostic("E0801", concat("merge changed ", changed.size(), " of ", base.tensors().size(),
                                         " tensors, expected ", expected))
                  .note(unchanged.empty() ? "the adapter has modules that this base does not"
                                          : "unchanged:" + unchanged.substr(0, 300))
                  .help("check that adapter and base belong together, and that the adapter was trained"));
}

std::uint64_t merged_bytes(const HfModel& base) {
  std::uint64_t bytes = 0;
  for (const HfTensor& tensor : base.tensors()) bytes += static_cast<std::uint64_t>(tensor.rows() * tensor.cols()) * 2;
  return bytes;
}

std::map<std::string, std::string> write_merged_weights(const MergeInput& input, const std::string& folder) {
  return WeightWriter(input).write(folder);
}

}  // namespace shori
