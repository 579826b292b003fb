// The GGUF container, version 3, as far as this program writes it. Source: ggml, docs/gguf.md.
//
//   "GGUF" | u32 3 | u64 tensors | u64 entries
//   entry:   string key | u32 type | value
//   tensor:  string name | u32 dimensions | u64 sizes[dimensions] | u32 type | u64 offset
//   zero bytes up to the alignment | data, each tensor zero-padded to the alignment
// Little endian; string = u64 length + UTF-8; array = u32 type of the elements | u64 count | elements; bool = 1 byte.
// Offsets are relative to the data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "shori/util/atomic_file.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/xxh64.h"

namespace shori {

inline constexpr std::uint64_t kGgufAlignment = 32;  // the default, which is not written
inline constexpr std::size_t kMaxNameBytes = 63;     // of a tensor; llama.cpp refuses more

enum class GgufType : std::uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kBf16 = 30 };
std::string_view type_name(GgufType type);                   // "Q8_0"
std::uint64_t block_values(GgufType type);                   // values of one block: 32 for Q8_0, else 1
std::uint64_t block_bytes(GgufType type);                    // bytes of one block
std::uint64_t bytes_of(GgufType type, std::uint64_t count);  // of `count` values, a multiple of block_values()

using GgufValue = std::variant<std::uint32_t, std::int32_t, float, bool, std::string, std::vector<std::string>,
                               std::vector<float>, std::vector<std::int32_t>>;

struct GgufTensor {
  std::string name;                  // at most 63 bytes
  std::vector<std::uint64_t> sizes;  // fastest first: the reverse of the shape in other formats
  GgufType type = GgufType::kF32;

  std::uint64_t count() const;
  std::uint64_t bytes() const { return bytes_of(type, count()); }
  bool operator==(const GgufTensor&) const = default;
};

struct GgufHeader {
  std::vector<std::pair<std::string, GgufValue>> entries;  // in the order of the file
  std::vector<GgufTensor> tensors;                         // in the order of their data

  std::vector<std::uint64_t> offsets() const;  // of each tensor, relative to the data
  std::uint64_t data_bytes() const;            // with the padding of the last tensor
  bool operator==(const GgufHeader&) const = default;
};

// Everything before the data, padded. A name that is too long, a row that is not a whole number of blocks, or a key or
// name that occurs twice is an internal error.
std::string gguf_header_bytes(const GgufHeader& header);

// A file of the kinds above, read strictly. Nothing that this program does not write is accepted.
class GgufFile {
 public:
  // E0804 names the rule that is broken: magic and version; counts, strings and arrays within the file; known types;
  // names unique, not empty and at most 63 bytes; 1 to 4 dimensions of at least 1; rows of whole blocks; tensors in the
  // order of their offsets without hole, overlap or rest; zero bytes as padding.
  static GgufFile open(InputFile file);

  const GgufHeader& header() const { return header_; }
  const InputFile& file() const { return file_; }
  // `bytes` bytes of tensor number `index` from `offset` within it.
  void read(std::size_t index, std::uint64_t offset, void* into, std::uint64_t bytes) const;

 private:
  explicit GgufFile(InputFile file) : file_(std::move(file)) {}
  InputFile file_;
  GgufHeader header_;
  std::vector<std::uint64_t> offsets_;
  std::uint64_t data_start_ = 0;
};

// Writes one file as a stream, under a temporary name beside its target. E0512, E0513 as AtomicFile.
class GgufWriter {
 public:
  // `file_hash`, if not null, gets all bytes of the file.
  GgufWriter(const std::string& path, GgufHeader header, Sha256* file_hash = nullptr);

  // The next bytes of the tensors, in their order; a call stays within one tensor.
  void append(const void* data, std::size_t bytes);
  // After the last byte: the file is durable, still under its temporary name.
  void finish();
  // Gives the file its name. A file that has this name is moved to `<name>.old-N` first.
  void publish();

  // Reads the file again under its temporary name. E0804 if its header or the bytes of a tensor are not those that were
  // written.
  GgufFile verify() const;

  const GgufHeader& header() const { return header_; }

 private:
  void write(const void* data, std::size_t bytes);

  std::string path_;
  GgufHeader header_;
  AtomicFile file_;
  Sha256* file_hash_;
  Xxh64 checksum_;                        // of the tensor being written
  std::vector<std::uint64_t> checksums_;  // of those before
  std::size_t tensor_ = 0;                // the one being written
  std::uint64_t missing_bytes_ = 0;       // of it
};

}  // namespace shori
