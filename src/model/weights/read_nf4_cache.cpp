// Reading the NF4 cache. Nothing of it is believed before its seal and the digest of the array have been checked.
#include <cstring>
#include <utility>

#include "shori/io/limits.h"
#include "shori/io/seal.h"
#include "shori/quant/nf4_levels.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/utf8.h"
#include "src/model/weights/nf4_cache.h"
#include "src/model/weights/nf4_cache_file.h"
#include "src/model/weights/weight_loader.h"

namespace shori {
namespace {

// Why a cache is not used.
struct Unusable {
  std::string reason;
};

std::string read_text(const SafetensorsFile& file, const TensorEntry& entry) {
  if (entry.bytes() > kMaxJsonFile) throw Unusable{"it is damaged: " + entry.name + " is too large"};
  std::string text(entry.bytes(), '\0');
  file.read(entry, 0, text.data(), text.size());
  return text;
}

JsonValue read_manifest(const SafetensorsFile& file) {
  const auto& tensors = file.tensors();
  if (tensors.size() < 2 || tensors[tensors.size() - 2].name != kManifestName || tensors.back().name != kSealName ||
      tensors.back().bytes() != kSealBytes)
    throw Unusable{"it is damaged: manifest and seal are not at its end"};
  const std::string manifest = read_text(file, tensors[tensors.size() - 2]), seal = read_text(file, tensors.back());
  std::string header(file.data_start(), '\0');
  file.file().read_at(0, header.data(), header.size());
  const SealFields fields{kNf4CacheMagic, file.file().size(), 0, seal_version(seal)};
  if (seal != make_seal(fields, header, manifest)) throw Unusable{"it is damaged: the seal does not match the file"};
  JsonProblem problem;
  auto value = parse_json(manifest, {.bytes = kMaxJsonFile, .depth = 8}, problem);
  if (!value || !value->is_object()) throw Unusable{"it is damaged: its manifest cannot be read"};
  const JsonValue* format = value->find("format");
  if (!format || format->as_unsigned() != fields.version)
    throw Unusable{"it is damaged: seal and manifest disagree about the format"};
  if (fields.version != kNf4CacheVersion) throw Unusable{"another version of this program made it"};
  return std::move(*value);
}

const std::string& text_of(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (!value || !value->is_string()) throw Unusable{"it is damaged: its manifest lacks `" + std::string(key) + "`"};
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

void check_layout(const SafetensorsFile& file, const FrozenArrays& frozen) {
  bool same = file.tensors().size() == frozen.arrays.size() + 2;
  for (std::size_t i = 0; same && i < frozen.arrays.size(); ++i) {
    const SafetensorsPlan& plan = frozen.arrays[i].plan;
    const TensorEntry& entry = file.tensors()[i];
    same = entry.name == plan.name && entry.dtype == plan.dtype && entry.shape == plan.shape;
  }
  if (!same) throw Unusable{"it holds other arrays than this base has"};
}

// Every array to its memory, its digest compared.
void read_arrays(const SafetensorsFile& file, const JsonValue& digests, const FrozenArrays& frozen,
                 const LoadOptions& options) {
  const bool on_device = options.arena != nullptr;
  const StreamShape shape = stream_shape(on_device ? Device::kCuda : Device::kCpu, options.threads);
  const PieceBuffers buffers(on_device, shape.buffers, shape.piece_bytes);
  std::vector<StreamedTensor> streamed;
  std::uint64_t total = 0, done = 0;
  for (std::size_t i = 0; i < frozen.arrays.size(); ++i) {
    streamed.push_back({&file, &file.tensors()[i]});
    total += file.tensors()[i].bytes();
  }
  std::optional<DeviceStream> copies;
  if (on_device) copies.emplace();
  PiecesUnderWay under_way;
  // Its pages stay in the system's cache: the file is read at every start.
  TensorStream pieces(
      std::move(streamed),
      {.buffers = buffers.all(), .piece_bytes = shape.piece_bytes, .threads = shape.readers, .drop_pages = false});
  while (const auto piece = pieces.next()) {
    const FrozenArray& array = frozen.arrays[piece->tensor];
    if (array.on_device) {
      copy_to_device(array.data + piece->offset, piece->data, piece->bytes, copies->handle());
      under_way.add(pieces, *piece, *copies);
    } else {
      std::memcpy(array.data + piece->offset, piece->data, piece->bytes);
      pieces.give_back(*piece);
    }
    done += piece->bytes;
    if (options.progress) options.progress(done, total);
    if (piece->is_last && to_hex(pieces.digest(piece->tensor)) != text_of(digests, array.plan.name)) {
      if (on_device) synchronize_stream(copies->handle());
      throw Unusable{"it is damaged: the checksum of " + array.plan.name + " differs"};
    }
  }
  if (on_device) synchronize_stream(copies->handle());
}

void read_cache(const Nf4CachePath& place, const HfModel& model, const LoadOptions& options, MistralWeights& weights) {
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(place.folder, place.name));
  const JsonValue manifest = read_manifest(file);
  check_files(manifest, model, options.activation);
  if (options.arena == nullptr) make_memory(weights);
  const FrozenArrays frozen(weights);
  check_layout(file, frozen);
  const JsonValue *digests = manifest.find("tensors"), *zero_blocks = manifest.find("zero_blocks");
  if (!digests || !zero_blocks || !zero_blocks->as_integer())
    throw Unusable{"it is damaged: its manifest is not whole"};
  read_arrays(file, *digests, frozen, options);
  file.file().check_unchanged();
  for (std::size_t i = 0; i < frozen.offsets.size(); ++i) *frozen.offsets_of[i] = frozen.offsets[i];
  weights.zero_blocks = *zero_blocks->as_integer();
  weights.fingerprint = text_of(manifest, "fingerprint");
}

}  // namespace

bool read_nf4_cache(const Nf4CachePath& place, const HfModel& model, const LoadOptions& options,
                    MistralWeights& weights) {
  if (!path_exists(place.path())) return false;
  std::string reason;
  try {
    read_cache(place, model, options, weights);
    log_info("the base comes from the NF4 cache " + escape_for_log(place.path(), 400));
    return true;
  } catch (const Unusable& unusable) {
    reason = unusable.reason;
  } catch (const Error& error) {
    if (error.exit_code() == 5) throw;  // of the device, not of the file
    reason = "it is damaged: " + error.diagnostics().front().message;
  }
  log_info("the NF4 cache " + escape_for_log(place.path(), 400) + " is not used and will be replaced: " + reason);
  return false;
}

}  // namespace shori
