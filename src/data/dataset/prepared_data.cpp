#include "src/data/dataset/prepared_data.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/dataset_archive.h"

namespace shori {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "SHORIPRP";
constexpr std::uint32_t kFormat = 5;
constexpr std::uint64_t kMaxFile = std::uint64_t{64} << 30;
constexpr std::string_view kDamaged = "the cache is damaged";

// The bytes of a file up to the text of its key: the magic, the format and the size of the key.
constexpr std::size_t kFileHeadBytes = kMagic.size() + sizeof kFormat + sizeof(std::uint64_t);

template <typename T>
T number_at(std::string_view bytes, std::size_t offset) {
  T value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
std::uint32_t format_of(std::string_view head) { return number_at<std::uint32_t>(head, kMagic.size()); }
std::uint64_t key_size_of(std::string_view head) {
  return number_at<std::uint64_t>(head, kMagic.size() + sizeof kFormat);
}

std::string head_of(const std::string& key) {
  const std::uint64_t size = key.size();
  std::string head(kMagic);
  head.append(reinterpret_cast<const char*>(&kFormat), sizeof kFormat);
  head.append(reinterpret_cast<const char*>(&size), sizeof size);
  return head;
}

// The names of files do not count, only what they hold.
bool is_same_line(std::string_view a, std::string_view b) {
  const bool of_file = a.starts_with('"') && b.starts_with('"');
  return a == b || (of_file && a.substr(a.rfind('\t') + 1) == b.substr(b.rfind('\t') + 1));
}

// The first thing that differs between the keys, in words; empty: nothing.
std::string difference(std::string_view before, std::string_view now) {
  while (!before.empty() && !now.empty()) {
    const std::string_view old_line = before.substr(0, before.find('\n')), line = now.substr(0, now.find('\n'));
    if (!is_same_line(old_line, line)) {
      const std::string name(line.substr(0, line.find('\t'))), old_name(old_line.substr(0, old_line.find('\t')));
      return escape_for_log(name == old_name ? name : old_name, 200) +
             (name == old_name ? " changed" : " is no longer there");
    }
    before.remove_prefix(std::min(old_line.size() + 1, before.size()));
    now.remove_prefix(std::min(line.size() + 1, now.size()));
  }
  if (before.empty() && now.empty()) return "";
  return now.empty() ? "files are no longer there" : "files were added";
}

// The key of a file, without the data; empty if it is not one of this format.
std::string key_of(const std::string& path) {
  const InputFile file = InputFile::open(path);
  std::string head(kFileHeadBytes, '\0');
  if (file.size() < head.size()) return {};
  file.read_at(0, head.data(), head.size());
  const std::uint64_t size = key_size_of(head);
  if (!head.starts_with(kMagic) || format_of(head) != kFormat || size > file.size() - head.size()) return {};
  std::string key(size, '\0');
  file.read_at(head.size(), key.data(), size);
  return key;
}

bool has_key(const std::string& path, const std::string& key) {
  try {
    const std::string found = key_of(path);
    return !found.empty() && difference(found, key).empty();
  } catch (const Error&) {
    return false;
  }
}

std::string read_checked(const std::string& path, std::string& reason) {
  const InputFile file = InputFile::open(path);
  std::string content = read_whole_file(file, kMaxFile, "E0317");
  constexpr std::size_t kDigest = sizeof(Sha256Digest);
  const std::size_t size = content.size() < kDigest ? 0 : content.size() - kDigest;
  const Sha256Digest digest = sha256(content.data(), size);
  const bool whole = size >= kFileHeadBytes && std::memcmp(content.data() + size, digest.data(), kDigest) == 0;
  if (!whole || !content.starts_with(kMagic)) {
    reason = kDamaged;
    return {};
  }
  content.resize(size);
  return content;
}

}  // namespace

PreparedData read_prepared(const std::string& path, const std::string& key) {
  PreparedData result;
  if (!path_exists(path)) {
    result.reason = "no cache yet";
    return result;
  }
  try {
    const std::string content = read_checked(path, result.reason);
    if (!result.reason.empty()) return result;
    std::string_view rest = content;
    const std::uint64_t key_size = key_size_of(rest);
    if (format_of(rest) != kFormat) {
      result.reason = "the program changed";
      return result;
    }
    rest.remove_prefix(kFileHeadBytes);
    if (key_size > rest.size()) {
      result.reason = kDamaged;
      return result;
    }
    result.reason = difference(rest.substr(0, key_size), key);
    if (!result.reason.empty()) return result;
    rest.remove_prefix(key_size);
    result.dataset.emplace();
    if (restore_dataset(rest, *result.dataset, result.warnings)) return result;
    result = {};
    result.reason = kDamaged;
  } catch (const Error& error) {
    result.reason = "what was kept cannot be read: " + error.diagnostics().front().message;
  }
  return result;
}

std::string find_prepared(const std::string& path, const std::string& key) {
  const std::string folder = parent_path(path);
  if ((path_exists(path) && has_key(path, key)) || !is_directory(folder)) return path;
  for (const std::string& name : list_directory(folder)) {
    const std::string other = join_path(folder, name);
    if (name.ends_with(".bin") && !is_directory(other) && has_key(other, key)) return other;
  }
  return path;
}

std::string write_prepared(const PreparedCache& cache, const Dataset& dataset) {
  std::string content = head_of(cache.key) + cache.key;
  append_dataset(dataset, cache.warnings, content);
  const Sha256Digest digest = sha256(content.data(), content.size());
  content.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  try {
    make_directories(parent_path(cache.path));
    write_file_atomically(parent_path(cache.path), file_name(cache.path), content);
  } catch (const Error& error) {
    return error.diagnostics().front().message;
  }
  return {};
}

}  // namespace shori
