#include "src/export/merged_chunks.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "shori/io/half_rows.h"
#include "shori/model/nf4_weight.h"
#include "shori/util/error.h"
#include "shori/util/ordered_work.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"

namespace shori {
namespace {

constexpr std::int64_t kValuesAtOnce = 1 << 19;  // of one chunk: what a thread works on stays in the caches of its core
constexpr int kMaxThreads = 8;

// The weight as training saw it.
Nf4Weight quantized(const HfModel& base, const HfTensor& tensor) {
  Nf4Weight weight = Nf4Weight::make({tensor.rows(), tensor.cols()});
  Nf4Quantizer quantizer(weight.view(), usable_cores());
  std::vector<float> values;
  for (const ChunkPosition& chunk : chunks_of({{&tensor}})) {
    throw_if_stop_requested();
    values.resize(static_cast<std::size_t>(chunk.values()));
    base.read_rows(tensor, chunk.first, chunk.rows, values.data());
    if (const auto bad = quantizer.add(values))
      throw Error(
          Diagnostic("E0210", concat("`", tensor.name, "` holds a value that is not finite at element ", *bad)));
  }
  weight.offset = quantizer.finish().offset;
  return weight;
}

// values += scaling * (B . A), for the rows that begin at `first`. `delta`: memory for the product.
void add_lora(const LoraPair& lora, float scaling, std::int64_t first, std::span<float> values,
              std::span<float> delta) {
  const c10::InferenceMode no_autograd;
  // Chunks are merged side by side, so the product of one takes one thread.
  thread_local const bool is_alone = (at::set_num_threads(1), true);
  (void)is_alone;
  const std::int64_t rank = lora.rank(), cols = lora.a->shape[1], rows = std::ssize(values) / cols;
  const at::Tensor a = at::from_blob(lora.a->data, {rank, cols}, at::kFloat);
  const at::Tensor b = at::from_blob(lora.b->values<float>().data() + first * rank, {rows, rank}, at::kFloat);
  at::Tensor product = at::from_blob(delta.data(), {rows, cols}, at::kFloat);
  at::mm_out(product, b, a);
  // A constant number of steps into an array that nothing else points to, so that the compiler makes vectors of them.
  constexpr std::size_t kStep = 64;
  float* value = values.data();
  const float* added = delta.data();
  std::size_t left = values.size();
  for (; left >= kStep; left -= kStep, value += kStep, added += kStep) {
    float sum[kStep];
    for (std::size_t k = 0; k < kStep; ++k) sum[k] = value[k] + scaling * added[k];
    std::copy_n(sum, kStep, value);
  }
  for (; left > 0; --left, ++value, ++added) *value += scaling * *added;
}

// Memory of one chunk, which is used for one after the other.
struct Slot {
  explicit Slot(std::size_t count) : read(4 * count), encoded(4 * count), values(count), delta(count) {}
  std::vector<std::byte> read, encoded;
  std::vector<float> values, delta;
};

// What a tensor is merged from, beside its values in the base.
struct Factors {
  std::once_flag once;
  std::optional<LoraPair> lora;
  std::optional<Nf4Weight> nf4;
};

class Merge {
 public:
  explicit Merge(const MergeJob& job) : job_(job), chunks_(chunks_of(job.sources)), factors_(job.sources.size()) {
    std::int64_t most = 0;
    for (const ChunkPosition& chunk : chunks_) most = std::max(most, chunk.values());
    slots_.assign(static_cast<std::size_t>(merge_threads()) + 1, Slot(static_cast<std::size_t>(most)));
  }

  void run(const EncodeChunk& encode, const WriteChunk& write) {
    struct IsRead {};
    make_in_order(
        chunks_.size(), merge_threads(),
        [&](std::size_t i) {
          throw_if_stop_requested();
          read(chunks_[i], slot_of(i));
          return IsRead();
        },
        [&](std::size_t i, IsRead) { return encoded(chunks_[i], slot_of(i), encode); },
        [&](std::size_t i, const EncodedChunk& encoded) {
          if (job_.hashes) hash_with_output(chunks_[i], slot_of(i), encoded);
          write(chunks_[i], encoded);
          if (chunks_[i].is_last) factors_[chunks_[i].index].nf4.reset();
        });
    std::set<std::size_t> shards;
    for (const MergeSource& source : job_.sources) shards.insert(source.tensor->shard);
    for (const std::size_t shard : shards) job_.base.shard_file(shard).file().check_unchanged();
  }

 private:
  // A slot is free again when the chunk that had it was written.
  Slot& slot_of(std::size_t i) { return slots_[i % slots_.size()]; }

  static std::span<const std::byte> read_bytes(const ChunkPosition& chunk, const Slot& slot) {
    const std::uint64_t size = dtype_size(chunk.tensor->dtype);
    return std::span(slot.read).first(static_cast<std::uint64_t>(chunk.values()) * size);
  }

  // Chunks come in order, so that one hash goes through all of a tensor.
  void read(const ChunkPosition& chunk, Slot& slot) {
    const HfTensor& tensor = *chunk.tensor;
    const std::uint64_t row = static_cast<std::uint64_t>(tensor.cols()) * dtype_size(tensor.dtype);
    const std::span<const std::byte> bytes = read_bytes(chunk, slot);
    job_.base.shard_file(tensor.shard)
        .read(tensor.entry, static_cast<std::uint64_t>(chunk.first) * row, slot.read.data(), bytes.size());
    if (job_.base_digests == nullptr || job_.hashes != nullptr) return;
    base_hash_.update(bytes.data(), bytes.size());
    if (!chunk.is_last) return;
    (*job_.base_digests)[tensor.name] = base_hash_.finish();
    base_hash_ = Sha256();
  }

  void hash_with_output(const ChunkPosition& chunk, const Slot& slot, const EncodedChunk& encoded) {
    job_.hashes->update(read_bytes(chunk, slot), encoded.bytes);
    if (chunk.is_last) (*job_.base_digests)[chunk.tensor->name] = job_.hashes->finish_first();
  }

  EncodedChunk encoded(const ChunkPosition& chunk, Slot& slot, const EncodeChunk& encode) {
    const Factors& factors = factors_of(chunk);
    if (!factors.lora && job_.written_dtype == chunk.tensor->dtype) return {.bytes = read_bytes(chunk, slot)};
    return encode(merged(chunk, factors, slot), slot.encoded.data());
  }

  const Factors& factors_of(const ChunkPosition& chunk) {
    Factors& factors = factors_[chunk.index];
    std::call_once(factors.once, [&] {
      if (job_.adapter) factors.lora = lora_of(*job_.adapter, *chunk.tensor);
      if (factors.lora && job_.merge_base == MergeBase::kNf4) factors.nf4 = quantized(job_.base, *chunk.tensor);
    });
    return factors;
  }

  MergedChunk merged(const ChunkPosition& position, const Factors& factors, Slot& slot) {
    const HfTensor& tensor = *position.tensor;
    const std::span<float> values = std::span(slot.values).first(static_cast<std::size_t>(position.values()));
    if (factors.nf4)
      dequantize_nf4(factors.nf4->view(), position.first * tensor.cols(), values);
    else
      widen_values(tensor.dtype, slot.read.data(), values.size(), values.data());
    if (factors.lora) add_lora(*factors.lora, job_.adapter->scaling(), position.first, values, slot.delta);
    return {position, values, factors.lora.has_value(), slot.read.data()};
  }

  const MergeJob& job_;
  std::vector<ChunkPosition> chunks_;
  std::vector<Factors> factors_;  // by tensor
  std::vector<Slot> slots_;
  Sha256 base_hash_;  // of the tensor that is being read
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

std::span<const float> MergedChunk::row(std::int64_t index) const {
  const auto cols = static_cast<std::size_t>(tensor->cols());
  return values.subspan(static_cast<std::size_t>(index) * cols, cols);
}

void MergedChunk::base_row(std::int64_t index, std::vector<float>& row) const {
  row.resize(static_cast<std::size_t>(tensor->cols()));
  const std::uint64_t bytes = row.size() * dtype_size(tensor->dtype);
  widen_values(tensor->dtype, read + static_cast<std::uint64_t>(index) * bytes, row.size(), row.data());
}

int merge_threads() { return std::min(usable_cores(), kMaxThreads); }

void for_each_merged_chunk(const MergeJob& job, const EncodeChunk& encode, const WriteChunk& write) {
  Merge(job).run(encode, write);
}

}  // namespace shori
