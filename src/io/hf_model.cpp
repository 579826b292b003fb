// Reading the weights of an opened model folder.
#include "shori/io/hf_model.h"

#include <fcntl.h>

#include "shori/io/half_rows.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/ordered_work.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/io/shape_text.h"

namespace shori {

const HfTensor* HfModel::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::uint64_t HfModel::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const HfTensor& tensor : tensors_) bytes += tensor.entry.bytes();
  return bytes;
}

void HfModel::read_bytes(const HfTensor& tensor, std::uint64_t offset, void* into, std::uint64_t bytes) const {
  const SafetensorsFile& file = files_[tensor.shard];
  file.read(tensor.entry, offset, into, bytes);
  // Weights are read once. Their pages would only displace more useful ones in the page cache.
  (void)posix_fadvise(file.file().descriptor(), static_cast<off_t>(file.data_start() + tensor.entry.begin + offset),
                      static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

void HfModel::read_rows(const HfTensor& tensor, std::int64_t first, std::int64_t count, float* out) const {
  SHORI_CHECK(tensor.role == TensorRole::kValues, tensor.name + " is not a tensor of values");
  const std::uint64_t size = dtype_size(tensor.dtype);
  const std::uint64_t values = static_cast<std::uint64_t>(count * tensor.cols());
  const std::uint64_t offset = static_cast<std::uint64_t>(first * tensor.cols()) * size;
  if (tensor.dtype == FileDType::kF32) return read_bytes(tensor, offset, out, values * size);
  std::vector<std::uint16_t> bits(values);
  read_bytes(tensor, offset, bits.data(), values * size);
  widen_values(tensor.dtype, bits.data(), values, out);
}

std::string HfModel::fingerprint(const Report& report) const {
  std::vector<Sha256Digest> digests;
  std::uint64_t done = 0;
  // The pages stay in the system's cache: who asks for a fingerprint reads the weights next.
  const auto digest_of = [&](std::size_t i) {
    return files_[tensors_[i].shard].digest(tensors_[i].entry, throw_if_stop_requested);
  };
  make_in_order(tensors_.size(), usable_cores(), digest_of, [&](std::size_t i, const Sha256Digest& digest) {
    digests.push_back(digest);
    done += tensors_[i].entry.bytes();
    if (report) report(done, tensor_bytes());
  });
  for (const SafetensorsFile& file : files_) file.file().check_unchanged();
  return fingerprint_of(digests);
}

std::string HfModel::fingerprint_of(const std::vector<Sha256Digest>& digests) const {
  SHORI_CHECK(digests.size() == tensors_.size(), "a fingerprint needs the digest of every tensor");
  Sha256 all;
  for (const auto& [name, index] : by_name_) {  // in name order
    const HfTensor& tensor = tensors_[index];
    all.update(name).update("\0", 1).update(dtype_name(tensor.dtype)).update("\0", 1);
    all.update(shape_text(tensor.entry.shape)).update("\0", 1).update(digests[index].data(), digests[index].size());
  }
  return to_hex(all.finish());
}

std::string HfModel::header_fingerprint() const {
  Sha256 hash;
  hash.update(config_json_);
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    hash.update(shards_[i].name).update("\0", 1).update(concat(shards_[i].size)).update("\0", 1);
    hash.update(files_[i].header_sha256());
  }
  return to_hex(hash.finish());
}

}  // namespace shori
