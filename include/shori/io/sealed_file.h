// Sealed files: safetensors files of this program that show whether they are complete and unchanged. Checkpoints and
// the NF4 cache are sealed files.
//
// The arrays come first, then two U8 tensors:
//   shori.manifest  canonical JSON padded with spaces. Its `tensors` has the SHA-256 of every array by name, its
//                   `format` the version that the seal has too.
//   shori.seal      64 bytes, written last: a file that was not finished has none.
//      0  magic, 8 bytes
//      8  u64 LE  size of the file
//     16  u64 LE  number (a checkpoint's step, else 0)
//     24  SHA-256 of everything before the data followed by the manifest tensor
//     56  u64 LE  format version
// Every bit of the file is covered by the seal, by the manifest, or by a comparison of the two, but for the number:
// whoever opens the file knows what it must be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"

namespace shori {

inline constexpr char kManifestName[] = "shori.manifest";
inline constexpr char kSealName[] = "shori.seal";
inline constexpr std::size_t kSealBytes = 64;

// What distinguishes one kind of sealed file from another.
struct SealedFormat {
  std::string_view magic;  // 8 characters
  std::string_view label;  // value of `shori` in __metadata__: "checkpoint-1"
  std::uint64_t version = 0;
};

// Header and size of a sealed file, which are known before the first byte is written.
class SealedLayout {
 public:
  // The manifest's text is padded to `manifest_bytes`.
  SealedLayout(const SealedFormat& format, std::span<const NamedArray> arrays, std::size_t manifest_bytes);

  const SealedFormat& format() const { return format_; }
  const std::vector<NamedArray>& arrays() const { return arrays_; }
  std::size_t manifest_bytes() const { return manifest_bytes_; }
  const std::string& header() const { return header_; }
  std::uint64_t file_size() const { return file_size_; }

 private:
  SealedFormat format_;
  std::vector<NamedArray> arrays_;
  std::size_t manifest_bytes_;
  std::string header_;
  std::uint64_t file_size_;
};

// Writes one sealed file from its first byte to its last.
class SealedWriter {
 public:
  using Write = std::function<void(const void* data, std::size_t bytes)>;

  // Writes the header. `write` appends to the file; what it throws leaves the writer useless. `layout` outlives this.
  SealedWriter(const SealedLayout& layout, Write write);

  // The next bytes of the arrays, in their order. No call has bytes of two arrays.
  void append(const void* data, std::size_t bytes);
  // After the last byte: manifest and seal. `fields` is the manifest without `tensors`.
  void finish(const Json& fields, std::uint64_t number);

 private:
  void record_complete_arrays();

  const SealedLayout& layout_;
  Write write_;
  std::size_t array_ = 0;                       // the one that is being written
  std::uint64_t done_ = 0;                      // its bytes so far
  Sha256 hash_;                                 // of these
  std::map<std::string, std::string> digests_;  // 64 hex digits, by name
};

// Length of the manifest's text for `fields` and the digests of `arrays`: digests have one length.
std::size_t manifest_text_bytes(const Json& fields, std::span<const NamedArray> arrays);

// Thrown where a sealed file contradicts itself; `reason` follows the words "it is damaged: ".
struct DamagedFile {
  std::string reason;
};

struct SealedFile {
  SafetensorsFile file;
  JsonValue manifest;
  std::uint64_t number = 0, version = 0;

  std::span<const TensorEntry> arrays() const;  // without manifest and seal
  // The digest that the manifest has of an array, 64 hex digits; DamagedFile if it has none.
  const std::string& recorded_sha256(const std::string& name) const;
};

// Opens folder/name and checks container, manifest and seal against each other, all but the number and the arrays'
// bytes. Throws DamagedFile, also if the file cannot be opened.
SealedFile open_sealed_file(const std::string& folder, const std::string& name, std::string_view magic);
// Reads every array and compares its digest; DamagedFile names the first that differs.
void check_arrays(const SealedFile& sealed);

}  // namespace shori
