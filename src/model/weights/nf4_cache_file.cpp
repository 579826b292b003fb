#include "src/model/weights/nf4_cache_file.h"

#include <nlohmann/json.hpp>

#include "shori/util/error.h"
#include "src/model/weights/frozen_tensors.h"

namespace shori {
namespace {

FileDType file_dtype(DType dtype) {
  return dtype == DType::kU8 ? FileDType::kU8 : dtype == DType::kBf16 ? FileDType::kBf16 : FileDType::kF32;
}

NamedArray dense_array(const std::string& name, const OwnedTensor& tensor) {
  return {name, file_dtype(tensor.dtype()), {tensor.rows(), tensor.cols()}, tensor.data<void>()};
}

NamedArray flat_array(const std::string& name, const OwnedTensor& tensor) {
  return {name, file_dtype(tensor.dtype()), {tensor.count()}, tensor.data<void>()};
}

}  // namespace

FrozenArrays::FrozenArrays(MistralWeights& weights) {
  for_each_frozen(weights, [&](const std::string& name, auto& tensor) {
    const WeightSlot slot = slot_of(tensor);
    if (slot.nf4 == nullptr) {
      arrays_.push_back(dense_array(name, *slot.dense));
      return;
    }
    SHORI_CHECK(slot.nf4->layout.nested, "the NF4 cache holds nested scales");
    arrays_.push_back(flat_array(name + ".codes", slot.nf4->codes));
    arrays_.push_back(flat_array(name + ".absmax", slot.nf4->absmax));
    arrays_.push_back(flat_array(name + ".absmax2", slot.nf4->absmax2));
    offsets_.push_back(slot.nf4->offset);
    offsets_of_.push_back(&slot.nf4->offset);
  });
  arrays_.push_back({"shori.offsets", FileDType::kF32, {std::ssize(offsets_)}, offsets_.data()});
}

void FrozenArrays::store_offsets() const {
  for (std::size_t i = 0; i < offsets_.size(); ++i) *offsets_of_[i] = offsets_[i];
}

Json cache_manifest(const HfModel& model, const MistralWeights& weights) {
  Json files = Json::array();
  for (std::size_t i = 0; i < model.shards().size(); ++i) {
    const FileIdentity& identity = model.shard_file(i).file().identity();
    files.push_back({{"inode", identity.inode}, {"mtime_ns", identity.mtime_ns}});
  }
  return {{"activation", weights.activation == DType::kBf16 ? "BF16" : "F32"},
          {"files", std::move(files)},
          {"fingerprint", weights.fingerprint},
          {"format", kNf4CacheVersion},
          {"headers", model.header_fingerprint()},
          {"zero_blocks", weights.zero_blocks}};
}

}  // namespace shori
