#include "src/data/dataset/dataset_archive.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace shori {
namespace {

static_assert(std::endian::native == std::endian::little);

template <typename T>
inline constexpr bool kIsPlain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

// Both directions go through transfer(), so that they cannot differ.
class Saver {
 public:
  static constexpr bool kLoads = false;
  explicit Saver(std::string& out) : out_(out) {}
  void bytes(const void* data, std::size_t size) { out_.append(static_cast<const char*>(data), size); }
  void size(std::size_t& size) { bytes(&size, sizeof size); }

 private:
  std::string& out_;
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
  auto& [path, size, sha256, recorded_path, shown] = whole;
  transfer_all(archive, path, size, sha256, recorded_path, shown);
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
  auto& [code, message, severity, location, notes, helps, rule, subject] = whole;
  transfer_all(archive, code, message, severity, location, notes, helps, rule, subject);
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
      if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw Damaged();
    }
    archive.bytes(items.data(), count * sizeof(T));
  } else {
    for (T& item : items) transfer(archive, item);
  }
}

}  // namespace

void append_dataset(const Dataset& dataset, const std::vector<Diagnostic>& warnings, std::string& out) {
  Saver saver(out);
  // transfer() serves both directions, so it asks for what it could change; saving changes nothing.
  transfer(saver, const_cast<Dataset&>(dataset));
  transfer(saver, const_cast<std::vector<Diagnostic>&>(warnings));
}

bool restore_dataset(std::string_view bytes, Dataset& dataset, std::vector<Diagnostic>& warnings) {
  Loader loader(bytes);
  try {
    transfer(loader, dataset);
    transfer(loader, warnings);
  } catch (const Damaged&) {
    return false;
  }
  return loader.at_end();
}

}  // namespace shori
