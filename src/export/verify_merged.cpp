// Reads a merged model again, before it is published.
#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/export/merged_weights.h"

namespace shori {
namespace {

constexpr double kProbeTolerance = 1e-2;   // relative L2 of 16-bit rounding is about 2e-3
constexpr std::int64_t kProbedRows = 256;  // of one tensor; up to twice as many where rows do not divide

std::vector<double> random_vector(std::int64_t size) {
  std::mt19937 random(7);
  std::vector<double> x(static_cast<std::size_t>(size));
  for (double& value : x) value = static_cast<double>(random()) / 4294967296.0 - 0.5;
  return x;
}

double dot(std::span<const float> row, std::span<const double> x) {
  double sum = 0;
  for (std::size_t i = 0; i < row.size(); ++i) sum += row[i] * x[i];
  return sum;
}

// W x + alpha / r * B (A x), row by row.
class ExpectedProduct {
 public:
  ExpectedProduct(const MergeInput& input, const HfTensor& tensor, const LoraPair& lora, std::span<const double> x)
      : input_(input), tensor_(tensor), b_(lora.b->values<float>()), x_(x), row_(x.size()) {
    const std::span<const float> a = lora.a->values<float>();
    for (std::size_t r = 0; r < static_cast<std::size_t>(lora.rank()); ++r)
      ax_.push_back(dot(a.subspan(r * x.size(), x.size()), x));
  }

  double row(std::int64_t index) {
    input_.base.read_rows(tensor_, index, 1, row_.data());
    const std::span<const float> b = b_.subspan(static_cast<std::size_t>(index) * ax_.size(), ax_.size());
    double sum = dot(row_, x_);
    for (std::size_t r = 0; r < ax_.size(); ++r) sum += input_.adapter.scaling() * b[r] * ax_[r];
    return sum;
  }

 private:
  const MergeInput& input_;
  const HfTensor& tensor_;
  std::span<const float> b_;
  std::span<const double> x_;
  std::vector<double> ax_;  // A x
  std::vector<float> row_;
};

void probe(const MergeInput& input, const HfTensor& tensor, const LoraPair& lora,
           std::span<const std::uint16_t> written) {
  const std::vector<double> x = random_vector(tensor.cols());
  ExpectedProduct expected(input, tensor, lora, x);
  std::vector<float> row(x.size());
  double error = 0, size = 0;
  for (std::int64_t i = 0; i < tensor.rows(); i += std::max<std::int64_t>(1, tensor.rows() / kProbedRows)) {
    const auto bits = written.subspan(static_cast<std::size_t>(i) * row.size(), row.size());
    std::ranges::transform(bits, row.begin(),
                           [&](std::uint16_t value) { return decode_value(value, input.options.dtype); });
    const double wanted = expected.row(i), difference = dot(row, x) - wanted;
    error += difference * difference;
    size += wanted * wanted;
  }
  if (std::sqrt(error) > kProbeTolerance * std::sqrt(size))
    throw Error(Diagnostic("E0803", concat("exported `", tensor.name, "` differs from base + adapter: relative ",
                                           std::to_string(std::sqrt(error / size))))
                    .help("report it"));
}

void verify_tensor(const MergeInput& input, const SafetensorsFile& file, const TensorEntry& entry,
                   const std::string& digest) {
  std::vector<std::uint16_t> bits(entry.bytes() / 2);
  file.read(entry, 0, bits.data(), entry.bytes());
  if (to_hex(sha256(bits.data(), entry.bytes())) != digest)
    throw Error(Diagnostic("E0804", concat("re-reading the export failed: tensor `", entry.name,
                                           "` differs from what was written"))
                    .at(file.file().path()));
  // From NF4 weights, W x would be that of the quantized base.
  if (input.options.merge_base == MergeBase::kNf4) return;
  const HfTensor& tensor = *input.base.find(entry.name);
  if (const std::optional<LoraPair> lora = lora_of(input.adapter, tensor)) probe(input, tensor, *lora, bits);
}

}  // namespace

void verify_merged_weights(const MergeInput& input, const std::string& folder,
                           const std::map<std::string, std::string>& digests) {
  for (const HfShard& shard : input.base.shards()) {
    const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder, shard.name, "E0804"));
    for (const TensorEntry& entry : file.tensors()) {
      throw_if_stop_requested();
      verify_tensor(input, file, entry, digests.at(entry.name));
    }
  }
}

}  // namespace shori
