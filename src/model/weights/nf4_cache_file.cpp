#include "src/model/weights/nf4_cache_file.h"

#include "src/model/weights/frozen_tensors.h"
#include "src/model/weights/nf4_cache.h"

namespace shori {
namespace {

FileDType file_dtype(DType dtype) {
  return dtype == DType::kU8 ? FileDType::kU8 : dtype == DType::kBf16 ? FileDType::kBf16 : FileDType::kF32;
}

class ArrayList {
 public:
  explicit ArrayList(FrozenArrays& list) : list_(list) {}

  void operator()(const std::string& name, OwnedTensor& tensor) const {
    add(name, file_dtype(tensor.dtype()), {tensor.rows(), tensor.cols()}, tensor.data<void>(), dense_on_device_);
  }
  void operator()(const std::string& name, LinearWeight& weight) const {
    std::visit([&](auto& tensor) { add_linear(name, tensor); }, weight);
  }
  bool dense_on_device_ = false;

 private:
  void add(const std::string& name, FileDType dtype, std::vector<std::int64_t> shape, void* data,
           bool on_device) const {
    list_.arrays.push_back({{name, dtype, std::move(shape)}, static_cast<std::byte*>(data), on_device});
  }
  void add_linear(const std::string& name, OwnedTensor& tensor) const { (*this)(name, tensor); }
  void add_linear(const std::string& name, Nf4Tensor& tensor) const {
    add(name + ".codes", FileDType::kU8, {std::ssize(tensor.codes)}, tensor.codes.data(), false);
    add(name + ".absmax", FileDType::kU8, {std::ssize(tensor.absmax)}, tensor.absmax.data(), false);
    add(name + ".absmax2", FileDType::kF32, {std::ssize(tensor.absmax2)}, tensor.absmax2.data(), false);
    add_offset(tensor.offset);
  }
  void add_linear(const std::string& name, DeviceNf4& tensor) const {
    add(name + ".codes", FileDType::kU8, {tensor.codes.count()}, tensor.codes.data<void>(), true);
    add(name + ".absmax", FileDType::kU8, {tensor.absmax.count()}, tensor.absmax.data<void>(), true);
    add(name + ".absmax2", FileDType::kF32, {tensor.absmax2.count()}, tensor.absmax2.data<void>(), true);
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
  ArrayList list(*this);
  list.dense_on_device_ = std::holds_alternative<DeviceNf4>(weights.layers.front().linears.front());
  for_each_frozen(weights, list);
  arrays.push_back(
      {{"shori.offsets", FileDType::kF32, {std::ssize(offsets)}}, reinterpret_cast<std::byte*>(offsets.data()), false});
}

CanonicalJson cache_key(const HfModel& model, DType activation) {
  CanonicalJson files = CanonicalJson::array();
  for (std::size_t i = 0; i < model.shards().size(); ++i) {
    const FileIdentity& identity = model.shard_file(i).file().identity();
    files.push(CanonicalJson::object()
                   .set("inode", CanonicalJson::unsigned_integer(identity.inode))
                   .set("mtime_ns", CanonicalJson::integer(identity.mtime_ns)));
  }
  return CanonicalJson::object()
      .set("activation", CanonicalJson::string(activation == DType::kBf16 ? "BF16" : "F32"))
      .set("files", std::move(files))
      .set("headers", CanonicalJson::string(model.header_fingerprint()));
}

}  // namespace shori
