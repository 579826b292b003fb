// Reading the NF4 cache. Nothing in it is used before its seal and the digest of the array have been checked.
#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "shori/quant/nf4_levels.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/model/weights/nf4_cache.h"
#include "src/model/weights/nf4_cache_file.h"
#include "src/model/weights/weight_loader.h"

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

void check_files(const JsonValue& manifest, const HfModel& model, DType activation) {
  if (text_of(manifest, "activation") != (activation == DType::kBf16 ? "BF16" : "F32"))
    throw Unusable{"it was made with another `bf16`"};
  if (text_of(manifest, "headers") != model.header_fingerprint()) throw Unusable{"it belongs to another base"};
  const JsonValue* files = manifest.find("files");
  bool same = files != nullptr && files->is_array() && files->items.size() == model.shards().size();
  for (std::size_t i = 0; same && i < model.shards().size(); ++i) {
    const FileIdentity& identity = model.shard_file(i).file().identity();
    const JsonValue *inode = files->items[i].find("inode"), *mtime = files->items[i].find("mtime_ns");
    same = inode && mtime && inode->as_unsigned() == identity.inode && mtime->as_integer() == identity.mtime_ns;
  }
  if (!same) throw Unusable{"the files of the base were written again since it was made"};
}

Nf4Tensor empty_nf4(const LinearShape& shape) {
  const auto count = static_cast<std::size_t>(shape.out * shape.in),
             blocks = (count + kNf4BlockSize - 1) / kNf4BlockSize;
  Nf4Tensor tensor;
  tensor.rows = shape.out;
  tensor.cols = shape.in;
  tensor.codes.resize((count + 1) / 2);
  tensor.absmax.resize(blocks);
  tensor.absmax2.resize((blocks + kNf4AbsmaxBlockSize - 1) / kNf4AbsmaxBlockSize);
  return tensor;
}

// Host memory for everything; on a device it is there.
void make_memory(MistralWeights& weights) {
  const MistralConfig& config = weights.config;
  const auto dense = [&](std::int64_t rows) { return OwnedTensor::make(weights.activation, rows, config.hidden_size); };
  weights.embedding = dense(config.vocab_size);
  if (!config.tie_word_embeddings) weights.head = dense(config.vocab_size);
  weights.final_norm = dense(1);
  for (LayerWeights& layer : weights.layers) {
    layer.input_norm = dense(1);
    layer.post_attention_norm = dense(1);
    for (int i = 0; i < kLinearsOfLayer; ++i)
      layer.linears[static_cast<std::size_t>(i)] = empty_nf4(linear_shape(config, i));
  }
}

void check_layout(std::span<const TensorEntry> found, std::span<const NamedArray> arrays) {
  const auto same = [](const TensorEntry& entry, const NamedArray& array) {
    return entry.name == array.name && entry.dtype == array.dtype && entry.shape == array.shape;
  };
  if (!std::ranges::equal(found, arrays, same)) throw Unusable{"it holds other arrays than this base has"};
}

// Reads every array into its memory and compares its digest.
void read_arrays(const SealedFile& sealed, const FrozenArrays& frozen, const LoadOptions& options) {
  const bool on_device = options.arena != nullptr;
  const StreamShape shape = stream_shape(on_device ? Device::kCuda : Device::kCpu, options.threads);
  const PieceBuffers buffers(on_device, shape.buffers, shape.piece_bytes);
  std::vector<StreamedTensor> streamed;
  std::uint64_t total = 0, done = 0;
  for (const TensorEntry& entry : sealed.arrays()) {
    streamed.push_back({&sealed.file, &entry});
    total += entry.bytes();
  }
  std::optional<DeviceStream> copies;
  if (on_device) copies.emplace();
  PiecesUnderWay under_way;
  // Its pages stay in the system's cache: the file is read at every start.
  TensorStream pieces(
      std::move(streamed),
      {.buffers = buffers.all(), .piece_bytes = shape.piece_bytes, .threads = shape.readers, .drop_pages = false});
  while (const auto piece = pieces.next()) {
    const NamedArray& array = frozen.arrays[piece->tensor];
    std::byte* target = static_cast<std::byte*>(array.data) + piece->offset;
    if (frozen.is_on_device(piece->tensor)) {
      copy_to_device(target, piece->data, piece->bytes, copies->handle());
      under_way.add(pieces, *piece, *copies);
    } else {
      std::memcpy(target, piece->data, piece->bytes);
      pieces.give_back(*piece);
    }
    done += piece->bytes;
    if (options.progress) options.progress(done, total);
    if (piece->is_last && to_hex(pieces.digest(piece->tensor)) != sealed.recorded_sha256(array.name)) {
      if (on_device) synchronize_stream(copies->handle());
      throw DamagedFile{concat("the checksum of ", array.name, " differs")};
    }
  }
  if (on_device) synchronize_stream(copies->handle());
}

void read_cache(const Nf4CachePath& place, const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
  const SealedFile sealed = open_sealed_file(place.folder, place.name, kNf4CacheFormat.magic);
  if (sealed.version != kNf4CacheVersion) throw Unusable{"another version of this program made it"};
  check_files(sealed.manifest, model, options.activation);
  if (options.arena == nullptr) make_memory(weights);
  const FrozenArrays frozen(weights);
  check_layout(sealed.arrays(), frozen.arrays);
  const JsonValue* zero_blocks = sealed.manifest.find("zero_blocks");
  if (!zero_blocks || !zero_blocks->as_integer()) throw DamagedFile{"its manifest lacks `zero_blocks`"};
  read_arrays(sealed, frozen, options);
  sealed.file.file().check_unchanged();
  for (std::size_t i = 0; i < frozen.offsets.size(); ++i) *frozen.offsets_of[i] = frozen.offsets[i];
  weights.zero_blocks = *zero_blocks->as_integer();
  weights.fingerprint = text_of(sealed.manifest, "fingerprint");
}

}  // namespace

bool read_nf4_cache(const Nf4CachePath& place, const HfModel& model, const LoadOptions& options,
                    MistralWeights& weights) {
  if (!path_exists(place.path())) return false;
  std::string reason;
  try {
    read_cache(place, model, options, weights);
    log_info(concat("the base comes from the NF4 cache ", escape_for_log(place.path(), 400)));
    return true;
  } catch (const Unusable& unusable) {
    reason = unusable.reason;
  } catch (const DamagedFile& damage) {
    reason = concat("it is damaged: ", damage.reason);
  } catch (const Error& error) {
    if (error.exit_code() == 5) throw;  // an error of the device, not of the file
    reason = concat("it is damaged: ", error.diagnostics().front().message);
  }
  log_info(concat("the NF4 cache ", escape_for_log(place.path(), 400), " is not used and will be replaced: ", reason));
  return false;
}

}  // namespace shori
