#include "src/model/weights/quantized_parts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "shori/quant/dynamic_map.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// Whether absmax and absmax2 can be used unchanged.
bool has_our_form(const Nf4Header& header) {
  return header.nested && header.block_size == kNf4BlockSize && header.nested_block_size == kNf4GroupSize &&
         std::memcmp(header.nested_map.data(), dynamic_map_signed(), header.nested_map.size() * sizeof(float)) == 0;
}

std::vector<float> to_floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

void copy_bytes(const std::vector<std::byte>& from, const OwnedTensor& to) {
  SHORI_CHECK(from.size() == to.bytes(), "scales of another size than the header checked");
  std::memcpy(to.data<void>(), from.data(), from.size());
}

// The fp32 scale of each block that the file has.
std::vector<float> scales_of(const Nf4Header& header, const std::vector<std::byte>& absmax,
                             const std::vector<std::byte>& nested_absmax) {
  if (!header.nested) return to_floats(absmax);
  const std::vector<float> nested = to_floats(nested_absmax);
  std::vector<float> scales(absmax.size());
  for (std::size_t block = 0; block < scales.size(); ++block) {
    scales[block] = nf4_scale(header.nested_map[static_cast<std::size_t>(absmax[block])],
                              nested[block / static_cast<std::size_t>(header.nested_block_size)], header.nested_offset);
  }
  return scales;
}

void check_finite(const std::vector<float>& scales, const std::string& name) {
  const auto bad = std::ranges::find_if(scales, [](float scale) { return !std::isfinite(scale); });
  if (bad == scales.end()) return;
  throw Error(Diagnostic("E0210",
                         concat("the scale of block ", bad - scales.begin(), " of `", name, "` is not a finite number"))
                  .help("get the model again from its publisher"));
}

}  // namespace

bool has_nested_scales(const HfModel& model) {
  return std::ranges::all_of(model.tensors(),
                             [](const HfTensor& tensor) { return !tensor.nf4 || has_our_form(*tensor.nf4); });
}

void check_nf4_levels(const HfModel& model) {
  for (const HfTensor& tensor : model.tensors()) {
    for (unsigned code = 0; tensor.nf4 && code < 16; ++code) {
      if (tensor.nf4->map[code] == nf4_level(code)) continue;
      throw Error(Diagnostic("E0217", concat("the codes of `", tensor.name, "` mean other values than those of NF4"))
                      .at(model.shard_file(tensor.shard).file().path())
                      .help("use the 16-bit weights"));
    }
  }
}

std::optional<Nf4Weight> QuantizedParts::add(const HfTensor& part, const TensorChunk& chunk) {
  const bool is_absmax = part.role == TensorRole::kAbsmax;
  if (!is_absmax && part.role != TensorRole::kNestedAbsmax) return std::nullopt;  // read with the headers
  Collected& parts = collected_[part.weight];
  std::vector<std::byte>& bytes = is_absmax ? parts.absmax : parts.nested_absmax;
  bytes.insert(bytes.end(), chunk.data, chunk.data + chunk.bytes);
  (is_absmax ? parts.has_absmax : parts.has_nested_absmax) |= chunk.is_last;
  const HfTensor& codes = *model_.find(part.weight);
  if (!parts.has_absmax || (codes.nf4->nested && !parts.has_nested_absmax)) return std::nullopt;
  Nf4Weight scales = make_scales(codes, parts);
  collected_.erase(part.weight);
  return scales;
}

Nf4Weight QuantizedParts::make_scales(const HfTensor& codes, const Collected& parts) const {
  const Nf4Header& header = *codes.nf4;
  const std::vector<float> file_scales = scales_of(header, parts.absmax, parts.nested_absmax);
  check_finite(file_scales, codes.name);
  Nf4Weight weight;
  weight.layout = {codes.rows(), codes.cols(), nested_};
  if (nested_) {
    weight.absmax = OwnedTensor::make(DType::kU8, 1, weight.layout.blocks());
    weight.absmax2 = OwnedTensor::make(DType::kF32, 1, weight.layout.groups());
    copy_bytes(parts.absmax, weight.absmax);
    copy_bytes(parts.nested_absmax, weight.absmax2);
    weight.offset = header.nested_offset;
    return weight;
  }
  weight.scales = OwnedTensor::make(DType::kF32, 1, weight.layout.blocks());
  for (std::int64_t block = 0; block < weight.scales.count(); ++block) {
    weight.scales.data<float>()[block] =
        file_scales[static_cast<std::size_t>(block * kNf4BlockSize / header.block_size)];
  }
  return weight;
}

}  // namespace shori
