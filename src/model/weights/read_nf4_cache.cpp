// Reading the NF4 cache. Nothing in it is used before its seal and the digest of the array have been checked.
#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/model/weights/chunk_stream.h"
#include "src/model/weights/nf4_cache.h"
#include "src/model/weights/nf4_cache_file.h"

namespace shori {
namespace {

// Why an undamaged cache is not used.
struct Unusable {
  std::string reason;
};

const std::string& text_of(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (!value || !value->is_string()) throw DamagedFile{concat("its manifest lacks `", key, "`")};
  return value->text;
}

bool has_file_identities(const JsonValue& manifest, const HfModel& model) {
  const JsonValue* files = manifest.find("files");
  bool same = files != nullptr && files->is_array() && files->items.size() == model.shards().size();
  for (std::size_t i = 0; same && i < model.shards().size(); ++i) {
    const FileIdentity& identity = model.shard_file(i).file().identity();
    const JsonValue *inode = files->items[i].find("inode"), *mtime = files->items[i].find("mtime_ns");
    same = inode && mtime && inode->as_unsigned() == identity.inode && mtime->as_integer() == identity.mtime_ns;
  }
  return same;
}

// False if files that were copied had to be read to see that they hold the same.
bool check_files(const JsonValue& manifest, const HfModel& model, const LoadOptions& options) {
  const DType activation = options.activation;
  if (text_of(manifest, "activation") != (activation == DType::kBf16 ? "BF16" : "F32"))
    throw Unusable{"it was made with another `bf16`"};
  if (text_of(manifest, "headers") != model.header_fingerprint()) throw Unusable{"it belongs to another base"};
  if (has_file_identities(manifest, model)) return true;
  if (model.fingerprint(options.progress) != text_of(manifest, "fingerprint"))
    throw Unusable{"the files of the base were written again since it was made, with other weights"};
  return false;
}

void check_layout(std::span<const TensorEntry> found, std::span<const NamedArray> arrays) {
  const auto same = [](const TensorEntry& entry, const NamedArray& array) {
    return entry.name == array.name && entry.dtype == array.dtype && entry.shape == array.shape;
  };
  if (!std::ranges::equal(found, arrays, same)) throw Unusable{"it holds other arrays than this base has"};
}

// Copies chunks of arrays to a device. The offsets of the scales stay on the host.
class DeviceCopies {
 public:
  DeviceCopies(const FrozenArrays& frozen, TensorStream& chunks)
      : frozen_(frozen), chunks_(chunks), in_flight_(chunks) {}
  ~DeviceCopies() {
    // What is queued still reads the chunks; a device that fails here has failed before.
    try {
      wait();
    } catch (const Error&) {
    }
  }

  void copy(const TensorChunk& chunk) {
    std::byte* target = static_cast<std::byte*>(frozen_.arrays()[chunk.tensor].data) + chunk.offset;
    if (!frozen_.is_offsets(chunk.tensor)) {
      copy_to_device(target, chunk.data, chunk.bytes, stream_.handle());
      in_flight_.add(chunk, stream_);
    } else {
      std::memcpy(target, chunk.data, chunk.bytes);
      chunks_.release(chunk);
    }
  }
  void wait() { synchronize_stream(stream_.handle()); }

 private:
  const FrozenArrays& frozen_;
  TensorStream& chunks_;
  DeviceStream stream_;
  ChunksInFlight in_flight_;
};

// Buffers for a device. On the host each array is read into its own memory by as many threads as there may be, in chunks
// that are hashed while they are in the second cache.
StreamShape cache_shape(const LoadOptions& options) {
  if (options.arena != nullptr) return stream_shape(Device::kCuda, options.threads);
  return {.readers = options.threads, .buffers = 0, .chunk_bytes = std::size_t{1} << 18};
}

// Reads every array into its memory and compares its digest.
void read_arrays(const SealedFile& sealed, const FrozenArrays& frozen, const LoadOptions& options) {
  const bool on_device = options.arena != nullptr;
  const StreamShape shape = cache_shape(options);
  const ChunkBuffers buffers(on_device, shape.buffers, shape.chunk_bytes);
  std::vector<StreamedTensor> streamed;
  std::uint64_t total = 0, done = 0;
  for (std::size_t i = 0; i < sealed.arrays().size(); ++i) {
    const TensorEntry& entry = sealed.arrays()[i];
    streamed.push_back({&sealed.file, &entry, on_device ? nullptr : static_cast<std::byte*>(frozen.arrays()[i].data)});
    total += entry.bytes();
  }
  // Its pages stay in the system's cache: the file is read at every start.
  TensorStream chunks(
      std::move(streamed),
      {.buffers = buffers.all(), .chunk_bytes = shape.chunk_bytes, .threads = shape.readers, .drop_pages = false});
  std::optional<DeviceCopies> copies;
  if (on_device) copies.emplace(frozen, chunks);
  while (const auto chunk = chunks.next()) {
    if (copies) copies->copy(*chunk);
    done += chunk->bytes;
    if (options.progress) options.progress(done, total);
    const std::string& name = frozen.arrays()[chunk->tensor].name;
    if (chunk->is_last && to_hex(chunks.digest(chunk->tensor)) != sealed.recorded_sha256(name))
      throw DamagedFile{concat("the checksum of ", name, " differs")};
  }
  if (copies) copies->wait();
}

// False if the cache fits, but does not know the files of the base.
bool read_cache(const Nf4CachePath& path, const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
  const SealedFile sealed = open_sealed_file(path.folder, path.name, kNf4CacheFormat.magic);
  if (sealed.number != 0) throw DamagedFile{"the seal does not match the file"};
  if (sealed.version != kNf4CacheVersion) throw Unusable{"another version of this program made it"};
  const bool knows_files = check_files(sealed.manifest, model, options);
  const FrozenArrays frozen(weights);
  check_layout(sealed.arrays(), frozen.arrays());
  const JsonValue* zero_blocks = sealed.manifest.find("zero_blocks");
  if (!zero_blocks || !zero_blocks->as_integer()) throw DamagedFile{"its manifest lacks `zero_blocks`"};
  read_arrays(sealed, frozen, options);
  sealed.file.file().check_unchanged();
  frozen.store_offsets();
  weights.zero_blocks = *zero_blocks->as_integer();
  weights.fingerprint = text_of(sealed.manifest, "fingerprint");
  return knows_files;
}

}  // namespace

bool read_nf4_cache(const Nf4CachePath& path, const HfModel& model, const LoadOptions& options,
                    MistralWeights& weights) {
  if (!path_exists(path.path())) return false;
  std::string reason;
  try {
    const bool knows_files = read_cache(path, model, options, weights);
    log_info(concat("the base comes from the NF4 cache ", escape_for_log(path.path(), 400)));
    // The files need not be compared at the next start.
    if (!knows_files) write_nf4_cache(path, model, weights, options.arena != nullptr);
    return true;
  } catch (const Unusable& unusable) {
    reason = unusable.reason;
  } catch (const DamagedFile& damage) {
    reason = concat("it is damaged: ", damage.reason);
  } catch (const Error& error) {
    if (error.exit_code() == 5) throw;  // an error of the device, not of the file
    reason = concat("it is damaged: ", error.diagnostics().front().message);
  }
  log_info(concat("the NF4 cache ", escape_for_log(path.path(), 400), " is not used and will be replaced: ", reason));
  return false;
}

}  // namespace shori
