// Compares rows of a written weight W' with base and adapter: W' x against W x + alpha / r * B (A x), for a random x.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "src/export/merged_chunks.h"

namespace shori {

class WeightProbe {
 public:
  // `adapter` may be null. `tensor` outlives the probe.
  WeightProbe(const HfModel& base, const ExportSource* adapter, const HfTensor& tensor);

  // Distance of the rows to be added: 256 of a tensor, up to twice as many where rows do not divide.
  std::int64_t step() const;
  // `written`: row `index` of the base's order, decoded.
  void add(std::int64_t index, std::span<const float> written);
  // E0803 if the relative L2 norm of the differences is above `tolerance`.
  void check(double tolerance) const;

 private:
  double expected(std::int64_t index);

  const HfModel& base_;
  const HfTensor& tensor_;
  std::optional<LoraPair> lora_;
  double scaling_ = 0;
  std::vector<double> x_, ax_;  // x, A x
  std::vector<float> row_;
  double error_ = 0, size_ = 0;
};

}  // namespace shori
