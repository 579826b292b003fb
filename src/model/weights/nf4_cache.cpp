// Where the cache lies, and writing it.
#include "src/model/weights/nf4_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "shori/io/seal.h"
#include "shori/util/atomic_file.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/utf8.h"
#include "src/model/weights/nf4_cache_file.h"
#include "src/model/weights/weight_loader.h"

namespace shori {
namespace {

bool can_write(const std::string& folder) {
  try {
    make_directories(folder);
  } catch (const Error&) {
    return false;
  }
  return access(folder.c_str(), W_OK | X_OK) == 0;
}

// The folder for caches of this user; empty: none.
std::string user_cache_folder() {
  const auto absolute = [](const char* value) { return value != nullptr && value[0] == '/' ? value : ""; };
  const std::string cache = absolute(std::getenv("XDG_CACHE_HOME")), home = absolute(std::getenv("HOME"));
  if (!cache.empty()) return join_path(cache, "shori-train/nf4");
  return home.empty() ? "" : join_path(home, ".cache/shori-train/nf4");
}

// Several bases may share a folder: each has one beneath it, named by where the base lies.
std::string folder_of_base(const std::string& folder, const HfModel& model) {
  return join_path(folder, sha256_hex(absolute_path(model.folder())).substr(0, 16));
}

// Copies pieces of an array to host memory, hashes and writes them. Returns the digest.
class ArrayWriter {
 public:
  ArrayWriter(AtomicFile& file, bool on_device)
      : file_(file), shape_(stream_shape(on_device ? Device::kCuda : Device::kCpu, 1)) {
    if (on_device) buffer_ = std::make_unique<PieceBuffers>(true, 1, shape_.piece_bytes);
  }

  std::string write(const FrozenArray& array, std::uint64_t bytes) {
    Sha256 hash;
    for (std::uint64_t done = 0; done < bytes; done += shape_.piece_bytes) {
      throw_if_stop_requested();
      const std::size_t count = std::min<std::uint64_t>(shape_.piece_bytes, bytes - done);
      const std::byte* piece = array.data + done;
      if (array.on_device) {
        copy_to_host(buffer_->all().front(), piece, count, nullptr);
        synchronize_stream(nullptr);
        piece = buffer_->all().front();
      }
      hash.update(piece, count);
      file_.write(piece, count);
    }
    return to_hex(hash.finish());
  }

 private:
  AtomicFile& file_;
  StreamShape shape_;
  std::unique_ptr<PieceBuffers> buffer_;
};

}  // namespace

std::string Nf4CachePath::path() const { return join_path(folder, name); }

std::optional<Nf4CachePath> find_nf4_cache(const std::string& setting, const HfModel& model, DType activation) {
  const std::string name = activation == DType::kBf16 ? "nf4-bf16.safetensors" : "nf4-fp32.safetensors";
  if (setting == "off") return std::nullopt;
  if (setting.ends_with(".safetensors")) return Nf4CachePath{parent_path(setting), file_name(setting)};
  if (setting != "auto") return Nf4CachePath{folder_of_base(setting, model), name};
  if (model.tensor_bytes() < kNf4CacheFrom) return std::nullopt;
  const Nf4CachePath beside{join_path(model.folder(), ".shori-nf4"), name};
  if (path_exists(beside.path()) || can_write(beside.folder)) return beside;
  const std::string of_user = user_cache_folder();
  if (of_user.empty()) return std::nullopt;
  return Nf4CachePath{folder_of_base(of_user, model), name};
}

void write_nf4_cache(const Nf4CachePath& place, const HfModel& model, const LoadOptions& options,
                     MistralWeights& weights) {
  FrozenArrays frozen(weights);
  std::vector<SafetensorsPlan> plan;
  std::uint64_t bytes = 0;
  CanonicalJson key = cache_key(model, weights.activation), digests = CanonicalJson::object();
  key.set("fingerprint", CanonicalJson::string(weights.fingerprint))
      .set("format", CanonicalJson::unsigned_integer(kNf4CacheVersion))
      .set("zero_blocks", CanonicalJson::integer(weights.zero_blocks));
  for (const FrozenArray& array : frozen.arrays) {
    plan.push_back(array.plan);
    bytes += array.plan.bytes();
    digests.set(array.plan.name, CanonicalJson::string(std::string(64, '0')));
  }
  // Digests have one length, so the manifest's is known before them.
  CanonicalJson measured = key;
  const std::size_t manifest_bytes = (measured.set("tensors", std::move(digests)).text().size() + 7) / 8 * 8;
  plan.push_back({kManifestName, FileDType::kU8, {static_cast<std::int64_t>(manifest_bytes)}});
  plan.push_back({kSealName, FileDType::kU8, {static_cast<std::int64_t>(kSealBytes)}});
  const std::string header = make_safetensors_header(plan, {{"format", "pt"}, {"shori", "nf4-1"}});
  const std::uint64_t size = header.size() + bytes + manifest_bytes + kSealBytes;
  try {
    make_directories(place.folder);
    if (const auto space = std::filesystem::space(place.folder); space.available < 2 * size) {
      log_info("no NF4 cache is kept: it needs " + format_bytes(static_cast<double>(size)) +
               ", and as much must stay free on the disk of " + escape_for_log(place.folder, 400));
      return;
    }
    AtomicFile file(place.folder, place.name, size);
    file.write(header.data(), header.size());
    ArrayWriter writer(file, options.arena != nullptr);
    digests = CanonicalJson::object();
    for (const FrozenArray& array : frozen.arrays) {
      digests.set(array.plan.name, CanonicalJson::string(writer.write(array, array.plan.bytes())));
    }
    std::string manifest = key.set("tensors", std::move(digests)).text();
    manifest.resize(manifest_bytes, ' ');
    const std::string seal = make_seal({kNf4CacheMagic, size, 0, kNf4CacheVersion}, header, manifest);
    file.write(manifest.data(), manifest.size());
    file.write(seal.data(), seal.size());
    file.commit();
    log_info("NF4 cache written, " + format_bytes(static_cast<double>(size)) + ": " +
             escape_for_log(place.path(), 400));
  } catch (const std::filesystem::filesystem_error& error) {
    log_info(std::string("no NF4 cache is kept, the next start quantizes again: ") + error.what());
  } catch (const Error& error) {
    log_info("no NF4 cache is kept, the next start quantizes again: " + error.diagnostics().front().message);
  }
}

}  // namespace shori
