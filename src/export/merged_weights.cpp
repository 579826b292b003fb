#include "src/export/merged_weights.h"

#include <ATen/ATen.h>
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
  for_each_chunk(tensor, 1, [&](std::int64_t first, std::int64_t rows) {
    std::vector<float> values(static_cast<std::size_t>(rows * tensor.cols()));
    base.read_rows(tensor, first, rows, values.data());
    if (const auto bad = quantizer.add(values))
      throw Error(
          Diagnostic("E0210", concat("`", tensor.name, "` holds a value that is not finite at element ", *bad)));
  });
  weight.offset = quantizer.finish().offset;
  return weight;
}

// values += scaling * (B . A), for the rows that begin at `first`.
void add_lora(const LoraPair& lora, float scaling, std::int64_t first, std::span<float> values) {
  const c10::InferenceMode no_autograd;
  const std::int64_t rank = lora.rank(), cols = lora.a->shape[1], rows = std::ssize(values) / cols;
  const at::Tensor a = at::from_blob(lora.a->data, {rank, cols}, at::kFloat);
  const at::Tensor b = at::from_blob(lora.b->values<float>().data() + first * rank, {rows, rank}, at::kFloat);
  const at::Tensor delta = at::mm(b, a);
  const float* added = delta.const_data_ptr<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += scaling * added[i];
}

bool is_zero_or_subnormal_half(std::uint16_t bits) { return (bits & 0x7c00) == 0; }
bool is_inf_or_nan_half(std::uint16_t bits) { return (bits & 0x7c00) == 0x7c00; }

std::uint64_t written_bytes(const HfModel& base) {
  std::uint64_t bytes = 0;
  for (const HfTensor& tensor : base.tensors()) bytes += static_cast<std::uint64_t>(tensor.rows() * tensor.cols()) * 2;
  return bytes;
}

// Writes the shards and remembers what became of each tensor.
class WeightWriter {
 public:
  explicit WeightWriter(const MergeInput& input)
      : input_(input), dtype_(input.options.dtype), progress_("merging", written_bytes(input.base)) {}

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
    std::vector<const HfTensor*> tensors;
    std::vector<NamedArray> arrays;
    for (const HfTensor& tensor : input_.base.tensors()) {
      if (tensor.shard != shard) continue;
      tensors.push_back(&tensor);
      arrays.push_back({tensor.name, written, tensor.shape});
    }
    const std::string path = join_path(folder, input_.base.shards()[shard].name);
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
    const MergedRows merged(input_.base, &input_.adapter, input_.options.merge_base, tensor);
    Sha256 hash;
    bool changed = false;
    for_each_chunk(tensor, 1, [&](std::int64_t first, std::int64_t rows) {
      std::vector<float> before;
      const std::vector<float> values = merged.read(first, rows, merged.adapted() && !changed ? &before : nullptr);
      const std::vector<std::uint16_t> bits = encode(tensor, values);
      for (std::size_t i = 0; i < before.size() && !changed; ++i) changed = bits[i] != encode_value(before[i], dtype_);
      file.append(bits.data(), bits.size() * sizeof bits[0]);
      hash.update(bits.data(), bits.size() * sizeof bits[0]);
      progress_.add(bits.size() * sizeof bits[0]);
    });
    if (changed) changed_.insert(tensor.name);
    digests_[tensor.name] = to_hex(hash.finish());
  }

  std::vector<std::uint16_t> encode(const HfTensor& tensor, std::span<const float> values) {
    std::vector<std::uint16_t> bits(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      bits[i] = encode_value(values[i], dtype_);
      if (dtype_ == MergeDType::kBf16) continue;
      if (is_inf_or_nan_half(bits[i]) && std::isfinite(values[i]))
        throw Error(Diagnostic("E0804", concat(tensor.name, " holds ", std::to_string(values[i]),
                                               ", beyond the range of float16"))
                        .help("`--dtype bf16`"));
      vanished_ += values[i] != 0.0f && is_zero_or_subnormal_half(bits[i]) ? 1 : 0;
    }
    return bits;
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

struct MergedRows::Impl {
  const HfModel& base;
  const ExportSource* adapter;
  const HfTensor& tensor;
  std::optional<LoraPair> lora;
  std::optional<Nf4Weight> nf4;
};

MergedRows::MergedRows(const HfModel& base, const ExportSource* adapter, MergeBase merge_base, const HfTensor& tensor)
    : impl_(new Impl{base, adapter, tensor, adapter ? lora_of(*adapter, tensor) : std::nullopt, std::nullopt}) {
  if (impl_->lora && merge_base == MergeBase::kNf4) impl_->nf4 = quantized(base, tensor);
}
MergedRows::~MergedRows() = default;

bool MergedRows::adapted() const { return impl_->lora.has_value(); }

std::vector<float> MergedRows::read(std::int64_t first, std::int64_t rows, std::vector<float>* before) const {
  std::vector<float> values(static_cast<std::size_t>(rows * impl_->tensor.cols()));
  impl_->base.read_rows(impl_->tensor, first, rows, values.data());
  if (before) *before = values;
  if (impl_->nf4) dequantize_nf4(impl_->nf4->view(), first * impl_->tensor.cols(), values);
  if (impl_->lora) add_lora(*impl_->lora, impl_->adapter->scaling(), first, values);
  return values;
}

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

std::map<std::string, std::string> write_merged_weights(const MergeInput& input, const std::string& folder) {
  return WeightWriter(input).write(folder);
}

}  // namespace shori
