// The safetensors container, read strictly and written in one fixed form.
//   u64 LE N | N bytes of JSON | data.  Offsets are relative to the data. Source: huggingface/safetensors README.
//
// Rules of the reader (E0207 names the rule):
//   S1  sizes are within the limits
//   S2  the header is UTF-8, begins with '{', and only spaces follow its '}'
//   S3  no duplicate keys
//   S4  __metadata__ maps strings to strings
//   S5  a tensor has exactly dtype, shape and data_offsets, whose numbers are unsigned integer literals
//   S6  the dtype is known
//   S7  tensors in the order of their offsets cover the data without hole, overlap or rest, and each has the bytes that
//       its shape needs
//   S8  a shape with a 0 is checked like any other, and no two empty tensors share an offset
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/util/file.h"
#include "shori/util/hash.h"

namespace shori {

enum class FileDType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kF16,
  kBf16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64,
  kF8E5M2,
  kF8E4M3
};
std::string_view dtype_name(FileDType dtype);  // "BF16"
std::uint64_t dtype_size(FileDType dtype);     // bytes of one element
std::optional<FileDType> find_dtype(std::string_view name);

struct TensorEntry {
  std::string name;
  FileDType dtype = FileDType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // relative to the data

  std::uint64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

// Parses and checks a header: E0207. `json`: the N bytes; `data_bytes`: size of the data after it; `name`: for
// messages.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& name);

class SafetensorsFile {
 public:
  // E0207 if a rule is broken, E0203 if the file is shorter than its header says.
  static SafetensorsFile open(InputFile file);

  const std::vector<TensorEntry>& tensors() const { return header_.tensors; }
  const TensorEntry* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  // `bytes` bytes of a tensor from `offset` within it.
  void read(const TensorEntry& entry, std::uint64_t offset, void* into, std::uint64_t bytes) const;
  // SHA-256 of the bytes of a tensor, read in chunks. `before_chunk` is called before each, to stop if that is wanted.
  Sha256Digest digest(const TensorEntry& entry, void (*before_chunk)() = nullptr) const;
  // Bytes before the data.
  std::uint64_t data_start() const { return data_start_; }
  const InputFile& file() const { return file_; }
  const std::string& header_sha256() const { return header_sha256_; }  // of the first data_start() bytes

 private:
  explicit SafetensorsFile(InputFile file) : file_(std::move(file)) {}
  InputFile file_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::uint64_t data_start_ = 0;
  std::string header_sha256_;
};

// An array in memory and its name in a file, to write it or to fill it from the file.
struct NamedArray {
  std::string name;
  FileDType dtype = FileDType::kF32;
  std::vector<std::int64_t> shape;
  void* data = nullptr;  // row-major, not owned; null where only the header matters

  std::uint64_t count() const;
  std::uint64_t bytes() const { return count() * dtype_size(dtype); }
  template <typename T>
  std::span<T> values() const {
    return {static_cast<T*>(data), static_cast<std::size_t>(count())};
  }
};

// The bytes before the data: length and JSON. `__metadata__` comes first, in the order given, then the arrays in the
// order of their data; no white space except the spaces that pad the JSON to a multiple of 8 bytes.
std::string make_safetensors_header(std::span<const NamedArray> arrays,
                                    const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace shori
