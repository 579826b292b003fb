// Location of the cache, and writing it.
#include "src/model/weights/nf4_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "shori/util/atomic_file.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/math.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/model/weights/chunk_stream.h"
#include "src/model/weights/nf4_cache_file.h"

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

// Of the headers and the first bytes of every tensor: two bases that differ agree in it only if they were made to.
std::string short_name_of(const HfModel& model) {
  constexpr std::uint64_t kFirst = 1024;
  Sha256 hash;
  hash.update(model.header_fingerprint());
  std::string bytes;
  for (const HfTensor& tensor : model.tensors()) {
    bytes.resize(std::min(kFirst, tensor.entry.bytes()));
    model.read_bytes(tensor, 0, bytes.data(), bytes.size());
    hash.update(bytes);
  }
  return to_hex(hash.finish()).substr(0, 16);
}

// Several bases may share a folder: each has a folder of its own in it, named by what the base holds. Earlier versions
// named it by the path of the base; such a cache is still used.
Nf4CachePath cache_of_base(const std::string& folder, const HfModel& model, const std::string& name) {
  const Nf4CachePath by_path{join_path(folder, sha256_hex(absolute_path(model.folder())).substr(0, 16)), name};
  if (path_exists(by_path.path())) return by_path;
  return {join_path(folder, short_name_of(model)), name};
}

// Appends arrays, which may be in device memory, to the file.
class ArrayWriter {
 public:
  ArrayWriter(SealedWriter& file, bool on_device)
      : file_(file), shape_(stream_shape(on_device ? Device::kCuda : Device::kCpu, 1)) {
    if (on_device) buffer_ = std::make_unique<ChunkBuffers>(true, 1, shape_.chunk_bytes);
  }

  void write(const NamedArray& array, bool on_device) {
    for (std::uint64_t done = 0; done < array.bytes(); done += shape_.chunk_bytes) {
      throw_if_stop_requested();
      const std::size_t count = std::min<std::uint64_t>(shape_.chunk_bytes, array.bytes() - done);
      const std::byte* chunk = static_cast<const std::byte*>(array.data) + done;
      file_.append(on_device ? to_host(chunk, count) : chunk, count);
    }
  }

 private:
  const std::byte* to_host(const std::byte* chunk, std::size_t count) {
    copy_to_host(buffer_->all().front(), chunk, count, nullptr);
    synchronize_stream(nullptr);
    return buffer_->all().front();
  }

  SealedWriter& file_;
  StreamShape shape_;
  std::unique_ptr<ChunkBuffers> buffer_;
};

// As much as the file takes must stay free.
bool has_space(const Nf4CachePath& path, std::uint64_t size) {
  if (std::filesystem::space(path.folder).available >= 2 * size) return true;
  log_info(concat("no NF4 cache is kept: it needs ", format_bytes(size), ", and as much must stay free on the disk of ",
                  escape_for_log(path.folder, 400)));
  return false;
}

void write_file(const Nf4CachePath& path, const SealedLayout& layout, const FrozenArrays& frozen, const Json& manifest,
                bool on_device) {
  AtomicFile file(path.folder, path.name, layout.file_size());
  SealedWriter sealed(layout, [&](const void* data, std::size_t bytes) { file.write(data, bytes); });
  ArrayWriter writer(sealed, on_device);
  for (std::size_t i = 0; i < frozen.arrays().size(); ++i) {
    writer.write(frozen.arrays()[i], on_device && !frozen.is_offsets(i));
  }
  sealed.finish(manifest, 0);
  file.commit();
}

}  // namespace

std::string Nf4CachePath::path() const { return join_path(folder, name); }

std::optional<Nf4CachePath> find_nf4_cache(const std::string& setting, const HfModel& model, DType activation) {
  const std::string name = activation == DType::kBf16 ? "nf4-bf16.safetensors" : "nf4-fp32.safetensors";
  if (setting == "off") return std::nullopt;
  if (setting.ends_with(".safetensors")) return Nf4CachePath{parent_path(setting), file_name(setting)};
  if (setting != "auto") return cache_of_base(setting, model, name);
  if (model.tensor_bytes() < kNf4CacheFrom) return std::nullopt;
  const Nf4CachePath beside{join_path(model.folder(), ".shori-nf4"), name};
  if (path_exists(beside.path()) || can_write(beside.folder)) return beside;
  const std::string of_user = user_cache_folder();
  if (of_user.empty()) return std::nullopt;
  return cache_of_base(of_user, model, name);
}

void write_nf4_cache(const Nf4CachePath& path, const HfModel& model, MistralWeights& weights, bool on_device) {
  const FrozenArrays frozen(weights);
  const Json manifest = cache_manifest(model, weights);
  const SealedLayout layout(kNf4CacheFormat, frozen.arrays(),
                            round_up<std::size_t>(manifest_text_bytes(manifest, frozen.arrays()), 8));
  try {
    make_directories(path.folder);
    if (!has_space(path, layout.file_size())) return;
    write_file(path, layout, frozen, manifest, on_device);
    log_info(concat("NF4 cache written, ", format_bytes(layout.file_size()), ": ", escape_for_log(path.path(), 400)));
  } catch (const std::filesystem::filesystem_error& error) {
    log_info(concat("no NF4 cache is kept, the next start quantizes again: ", error.what()));
  } catch (const Error& error) {
    log_info(concat("no NF4 cache is kept, the next start quantizes again: ", error.diagnostics().front().message));
  }
}

}  // namespace shori
