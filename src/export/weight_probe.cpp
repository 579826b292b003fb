#include "src/export/weight_probe.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::int64_t kProbedRows = 256;

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

}  // namespace

WeightProbe::WeightProbe(const HfModel& base, const ExportSource* adapter, const HfTensor& tensor)
    : base_(base), tensor_(tensor), x_(random_vector(tensor.cols())), row_(x_.size()) {
  if (adapter) lora_ = lora_of(*adapter, tensor);
  if (!lora_) return;
  scaling_ = adapter->scaling();
  const std::span<const float> a = lora_->a->values<float>();
  for (std::size_t r = 0; r < static_cast<std::size_t>(lora_->rank()); ++r)
    ax_.push_back(dot(a.subspan(r * x_.size(), x_.size()), x_));
}

std::int64_t WeightProbe::step() const { return std::max<std::int64_t>(1, tensor_.rows() / kProbedRows); }

double WeightProbe::expected(std::int64_t index) {
  base_.read_rows(tensor_, index, 1, row_.data());
  double sum = dot(row_, x_);
  if (!lora_) return sum;
  const std::span<const float> b = lora_->b->values<float>().subspan(static_cast<std::size_t>(index) * ax_.size());
  for (std::size_t r = 0; r < ax_.size(); ++r) sum += scaling_ * b[r] * ax_[r];
  return sum;
}

void WeightProbe::add(std::int64_t index, std::span<const float> written) {
  const double wanted = expected(index), difference = dot(written, x_) - wanted;
  error_ += difference * difference;
  size_ += wanted * wanted;
}

void WeightProbe::check(double tolerance) const {
  if (std::sqrt(error_) <= tolerance * std::sqrt(size_)) return;
  throw Error(Diagnostic("E0803", concat("exported `", tensor_.name, "` differs from base + adapter: relative ",
                                         std::to_string(std::sqrt(error_ / size_))))
                  .help("report it"));
}

}  // namespace shori
