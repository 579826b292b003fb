#include "src/model/weights/quantized_parts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "shori/quant/dynamic_map.h"
#include "shori/quant/nf4_levels.h"
#include "shori/util/error.h"

namespace shori {
namespace {

// Ours, so that index and absmax2 can be taken as they are.
bool is_ours(const Nf4Header& header) {
  return header.nested && header.block_size == kNf4BlockSize && header.nested_block_size == kNf4AbsmaxBlockSize &&
         std::memcmp(header.nested_map.data(), dynamic_map_signed(), header.nested_map.size() * sizeof(float)) == 0;
}

std::vector<float> to_floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

bool needs_plain_scales(const HfModel& model) {
  return std::ranges::any_of(model.tensors(),
                             [](const HfTensor& tensor) { return tensor.nf4 && !is_ours(*tensor.nf4); });
}

void check_nf4_levels(const HfModel& model) {
  for (const HfTensor& tensor : model.tensors()) {
    for (unsigned code = 0; tensor.nf4 && code < 16; ++code) {
      if (tensor.nf4->map[code] == nf4_level(code)) continue;
      throw Error(Diagnostic("E0217", "the codes of `" + tensor.name + "` mean other values than those of NF4")
                      .at(model.shard_file(tensor.shard).file().path())
                      .help("use the 16-bit weights"));
    }
  }
}

std::optional<Nf4Scales> QuantizedParts::take(const HfTensor& part, const TensorPiece& piece) {
  const bool is_absmax = part.role == TensorRole::kAbsmax;
  if (!is_absmax && part.role != TensorRole::kNestedAbsmax) return std::nullopt;  // read with the headers
  Collected& parts = collected_[part.weight];
  std::vector<std::byte>& bytes = is_absmax ? parts.absmax : parts.nested;
  bytes.insert(bytes.end(), piece.data, piece.data + piece.bytes);
  (is_absmax ? parts.has_absmax : parts.has_nested) |= piece.is_last;
  const HfTensor& codes = *model_.find(part.weight);
  if (!parts.has_absmax || (codes.nf4->nested && !parts.has_nested)) return std::nullopt;
  Nf4Scales scales = make_scales(codes, parts);
  collected_.erase(part.weight);
  return scales;
}

Nf4Scales QuantizedParts::make_scales(const HfTensor& codes, const Collected& parts) const {
  const Nf4Header& header = *codes.nf4;
  const std::vector<float> absmax = header.nested ? std::vector<float>() : to_floats(parts.absmax);
  const std::vector<float> nested = to_floats(parts.nested);
  const auto* index = reinterpret_cast<const std::uint8_t*>(parts.absmax.data());
  const auto blocks = static_cast<std::size_t>(header.blocks(codes.rows() * codes.cols()));
  const auto scale_of = [&](std::size_t block) {
    if (!header.nested) return absmax[block];
    return nf4_scale(header.nested_map[index[block]],
                     nested[block / static_cast<std::size_t>(header.nested_block_size)], header.nested_offset);
  };
  for (std::size_t block = 0; block < blocks; ++block) {
    if (!std::isfinite(scale_of(block)))
      throw Error(Diagnostic("E0210", "the scale of block " + std::to_string(block) + " of `" + codes.name +
                                          "` is not a finite number")
                      .help("get the model again from its publisher"));
  }
  Nf4Scales scales;
  if (!plain_scales_) {
    scales.absmax.assign(index, index + blocks);
    scales.absmax2 = nested;
    scales.offset = header.nested_offset;
    return scales;
  }
  const std::int64_t of_ours = (codes.rows() * codes.cols() + kNf4BlockSize - 1) / kNf4BlockSize;
  for (std::int64_t block = 0; block < of_ours; ++block)
    scales.scales.push_back(scale_of(static_cast<std::size_t>(block * kNf4BlockSize / header.block_size)));
  return scales;
}

}  // namespace shori
