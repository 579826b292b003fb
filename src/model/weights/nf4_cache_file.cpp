#include "src/model/weights/nf4_cache_file.h"

#include <nlohmann/json.hpp>

#include "src/model/weights/frozen_tensors.h"

namespace shori {
namespace {

FileDType file_dtype(DType dtype) {
  return dtype == DType::kU8 ? FileDType::kU8 : dtype == DType::kBf16 ? FileDType::kBf16 : FileDType::kF32;
}

class ArrayList {
 public:
  explicit ArrayList(FrozenArrays& list) : list_(list) {}

  void operator()(const std::string& name, OwnedTensor& tensor) const {
    add(name, file_dtype(tensor.dtype()), {tensor.rows(), tensor.cols()}, tensor.data<void>());
  }
  void operator()(const std::string& name, LinearWeight& weight) const {
    std::visit([&](auto& tensor) { add_linear(name, tensor); }, weight);
  }

 private:
  void add(const std::string& name, FileDType dtype, std::vector<std::int64_t> shape, void* data) const {
    list_.arrays.push_back({name, dtype, std::move(shape), data});
  }
  void add_linear(const std::string& name, OwnedTensor& tensor) const { (*this)(name, tensor); }
  void add_linear(const std::string& name, Nf4Tensor& tensor) const {
    add(name + ".codes", FileDType::kU8, {std::ssize(tensor.codes)}, tensor.codes.data());
    add(name + ".absmax", FileDType::kU8, {std::ssize(tensor.absmax)}, tensor.absmax.data());
    add(name + ".absmax2", FileDType::kF32, {std::ssize(tensor.absmax2)}, tensor.absmax2.data());
    add_offset(tensor.offset);
  }
  void add_linear(const std::string& name, DeviceNf4& tensor) const {
    add(name + ".codes", FileDType::kU8, {tensor.codes.count()}, tensor.codes.data<void>());
    add(name + ".absmax", FileDType::kU8, {tensor.absmax.count()}, tensor.absmax.data<void>());
    add(name + ".absmax2", FileDType::kF32, {tensor.absmax2.count()}, tensor.absmax2.data<void>());
    add_offset(tensor.offset);
  }
  void add_offset(float& offset) const {
    list_.offsets.push_back(offset);
    list_.offsets_of.push_back(&offset);
  }

  FrozenArrays& list_;
};

}  // namespace

FrozenArrays::FrozenArrays(MistralWeights& weights) {
  weights_on_device = std::holds_alternative<DeviceNf4>(weights.layers.front().linears.front());
  for_each_frozen(weights, ArrayList(*this));
  arrays.push_back({"shori.offsets", FileDType::kF32, {std::ssize(offsets)}, offsets.data()});
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
