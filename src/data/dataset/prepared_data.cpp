#include "src/data/dataset/prepared_data.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "SHORIPRP";
constexpr std::uint32_t kFormat = 4;
constexpr std::uint64_t kMaxFile = std::uint64_t{64} << 30;

template <typename T>
inline constexpr bool kIsPlain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

// Both directions go through transfer(), so that they cannot differ.
class Saver {
 public:
  static constexpr bool kLoads = false;
  void bytes(const void* data, std::size_t size) { out_.append(static_cast<const char*>(data), size); }
  void size(std::size_t& size) { bytes(&size, sizeof size); }
  std::string& text() { return out_; }

 private:
  std::string out_;
};

struct Damaged {};

class Loader {
 public:
  static constexpr bool kLoads = true;
  explicit Loader(std::string_view in) : in_(in) {}
  void bytes(void* data, std::size_t size) {
    if (size > in_.size()) throw Damaged();
    if (size > 0) std::memcpy(data, in_.data(), size);
    in_.remove_prefix(size);
  }
  // Of elements that follow: there cannot be more than bytes.
  void size(std::size_t& size) {
    bytes(&size, sizeof size);
    if (size > in_.size()) throw Damaged();
  }
  bool at_end() const { return in_.empty(); }

 private:
  std::string_view in_;
};

template <typename Archive, typename T>
  requires kIsPlain<T>
void transfer(Archive& archive, T& value) {
  archive.bytes(&value, sizeof value);
}

template <typename Archive>
void transfer(Archive& archive, std::string& text) {
  std::size_t size = text.size();
  archive.size(size);
  if constexpr (Archive::kLoads) text.resize(size);
  archive.bytes(text.data(), size);
}

template <typename Archive, typename T>
void transfer(Archive& archive, std::vector<T>& items);

template <typename Archive, typename T, std::size_t n>
void transfer(Archive& archive, std::array<T, n>& items) {
  for (T& item : items) transfer(archive, item);
}

template <typename Archive, typename... T>
void transfer_all(Archive& archive, T&... members) {
  (transfer(archive, members), ...);
}

// Each overload lists every member, so a new member fails to compile until it is handled here.

template <typename Archive>
void transfer(Archive& archive, LedgerItem& whole) {
  auto& [location, tokens] = whole;
  transfer_all(archive, location, tokens);
}

template <typename Archive>
void transfer(Archive& archive, SourceLocation& whole) {
  auto& [file, line, column, end_column, source_line] = whole;
  transfer_all(archive, file, line, column, end_column, source_line);
}

template <typename Archive>
void transfer(Archive& archive, DataFile& whole) {
  auto& [path, size, sha256, recorded_path] = whole;
  transfer_all(archive, path, size, sha256, recorded_path);
}

template <typename Archive>
void transfer(Archive& archive, Conversation& whole) {
  auto& [id, file, line, is_line, category, rating, text_sha256, held_out, left_out] = whole;
  transfer_all(archive, id, file, line, is_line, category, rating, text_sha256, held_out, left_out);
}

template <typename Archive>
void transfer(Archive& archive, Sample& whole) {
  auto& [ids, trained, roles, regions, conversation, part, parts] = whole;
  transfer_all(archive, ids, trained, roles, regions, conversation, part, parts);
}

template <typename Archive>
void transfer(Archive& archive, HeldOutSet& whole) {
  auto& [name, samples] = whole;
  transfer_all(archive, name, samples);
}

template <typename Archive>
void transfer(Archive& archive, FileLedger& whole) {
  auto& [counts, dropped, split, held_out] = whole;
  static_assert(std::is_trivially_copyable_v<LedgerCounts> && sizeof(LedgerCounts) % sizeof(std::int64_t) == 0);
  archive.bytes(&counts, sizeof counts);
  transfer_all(archive, dropped, split, held_out);
}

template <typename Archive>
void transfer(Archive& archive, Diagnostic& whole) {
  auto& [code, message, severity, place, notes, helps, rule, subject] = whole;
  transfer_all(archive, code, message, severity, place, notes, helps, rule, subject);
}

template <typename Archive>
void transfer(Archive& archive, Dataset& whole) {
  auto& [train, held_out, conversations, files, file_ledgers, unknown_keys, text_changes, ignored_files,
         message_lengths, fingerprint, tokenizer_sha256, prepared, cache] = whole;
  transfer_all(archive, train, held_out, conversations, files, file_ledgers, unknown_keys, text_changes,
               message_lengths, tokenizer_sha256);
}

template <typename T>
T empty_item() {
  if constexpr (std::is_same_v<T, Diagnostic>) {
    return Diagnostic("E0001", "");
  } else {
    return T{};
  }
}

template <typename Archive, typename T>
void transfer(Archive& archive, std::vector<T>& items) {
  std::size_t count = items.size();
  archive.size(count);
  if constexpr (Archive::kLoads) items.assign(count, empty_item<T>());
  if constexpr (kIsPlain<T>) {
    if constexpr (Archive::kLoads) {
      if (count > kMaxFile / sizeof(T)) throw Damaged();
    }
    archive.bytes(items.data(), count * sizeof(T));
  } else {
    for (T& item : items) transfer(archive, item);
  }
}

std::string head_of(const std::string& key) {
  Saver saver;
  saver.bytes(kMagic.data(), kMagic.size());
  saver.bytes(&kFormat, sizeof kFormat);
  std::string copy = key;
  transfer(saver, copy);
  return std::move(saver.text());
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
  std::string head(kMagic.size() + sizeof kFormat + sizeof(std::size_t), '\0');
  if (file.size() < head.size()) return {};
  file.read_at(0, head.data(), head.size());
  Loader loader(head);
  std::string magic(kMagic.size(), '\0');
  std::uint32_t format = 0;
  std::size_t size = 0;
  loader.bytes(magic.data(), magic.size());
  transfer(loader, format);
  loader.bytes(&size, sizeof size);
  if (magic != kMagic || format != kFormat || size > file.size() - head.size()) return {};
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
  const bool whole = size > 0 && std::memcmp(content.data() + size, digest.data(), kDigest) == 0;
  if (!whole || !content.starts_with(kMagic)) {
    reason = "the cache is damaged";
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
    Loader loader(content);
    std::string magic(kMagic.size(), '\0'), old_key;
    std::uint32_t format = 0;
    loader.bytes(magic.data(), magic.size());
    transfer(loader, format);
    if (format != kFormat) {
      result.reason = "the program changed";
      return result;
    }
    transfer(loader, old_key);
    result.reason = difference(old_key, key);
    if (!result.reason.empty()) return result;
    Dataset dataset;
    transfer(loader, dataset);
    transfer(loader, result.warnings);
    if (!loader.at_end()) throw Damaged();
    result.dataset = std::move(dataset);
  } catch (const Damaged&) {
    result.warnings.clear();
    result.reason = "the cache is damaged";
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
  Saver saver;
  saver.text() = head_of(cache.key);
  // transfer() serves both directions, so it asks for what it could change; saving changes nothing.
  transfer(saver, const_cast<Dataset&>(dataset));
  transfer(saver, const_cast<std::vector<Diagnostic>&>(cache.warnings));
  const Sha256Digest digest = sha256(saver.text().data(), saver.text().size());
  saver.bytes(digest.data(), digest.size());
  try {
    make_directories(parent_path(cache.path));
    write_file_atomically(parent_path(cache.path), file_name(cache.path), saver.text());
  } catch (const Error& error) {
    return error.diagnostics().front().message;
  }
  return {};
}

}  // namespace shori
