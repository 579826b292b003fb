// Checksums of the frozen tensors.
#include "shori/model/mistral_weights.h"
#include "shori/ops/base_checksum.h"
#include "src/model/weights/frozen_tensors.h"

namespace shori {
namespace {

// Folds `value` into `sum`, so that order matters.
std::uint64_t fold(std::uint64_t sum, std::uint64_t value) {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio
  return (sum ^ value) * kOdd + (sum >> 32);
}

std::uint64_t checksum_of(const OpContext& context, const OwnedTensor& tensor) {
  return base_checksum(context, tensor.data<void>(), tensor.bytes());
}

// The offset is in host memory on every device.
std::uint64_t fold_offset(std::uint64_t sum, float offset) {
  Workspace workspace;
  return fold(sum, base_checksum({.workspace = &workspace}, &offset, sizeof offset));
}

std::uint64_t checksum_of(const OpContext& context, const Nf4Weight& weight) {
  std::uint64_t sum = checksum_of(context, weight.codes);
  if (!weight.layout.nested) return fold(sum, checksum_of(context, weight.scales));
  sum = fold(sum, checksum_of(context, weight.absmax));
  sum = fold(sum, checksum_of(context, weight.absmax2));
  return fold_offset(sum, weight.offset);
}

std::uint64_t checksum_of(const OpContext& context, const LinearWeight& weight) {
  return std::visit([&](const auto& tensor) { return checksum_of(context, tensor); }, weight);
}

}  // namespace

std::uint64_t BaseChecksums::combined() const {
  std::uint64_t sum = 0;
  for (const Entry& entry : entries) sum = fold(sum, entry.sum);
  return sum;
}

BaseChecksums checksum_base(const OpContext& context, const MistralWeights& weights) {
  BaseChecksums checksums;
  for_each_frozen(weights, [&](const std::string& name, const auto& tensor) {
    checksums.entries.push_back({name, checksum_of(context, tensor)});
  });
  return checksums;
}

std::optional<std::string> find_changed_tensor(const OpContext& context, const MistralWeights& weights,
                                               const BaseChecksums& expected) {
  std::optional<std::string> changed;
  std::size_t index = 0;
  for_each_frozen(weights, [&](const std::string& name, const auto& tensor) {
    if (!changed && checksum_of(context, tensor) != expected.entries.at(index).sum) changed = name;
    ++index;
  });
  return changed;
}

}  // namespace shori
