#include <cstdio>
#include <cstring>
#include <set>

#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/math.h"
#include "shori/util/ordered_work.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/export/gguf/gguf_file.h"
#include "src/export/read_back.h"

namespace shori {
namespace {

constexpr char kZeros[kGgufAlignment] = {};

// Numbers of the value types.
template <typename T>
constexpr std::uint32_t kTypeNumber = 0;
template <>
constexpr std::uint32_t kTypeNumber<std::uint32_t> = 4;
template <>
constexpr std::uint32_t kTypeNumber<std::int32_t> = 5;
template <>
constexpr std::uint32_t kTypeNumber<float> = 6;
template <>
constexpr std::uint32_t kTypeNumber<bool> = 7;
template <>
constexpr std::uint32_t kTypeNumber<std::string> = 8;
constexpr std::uint32_t kArrayNumber = 9;

class HeaderText {
 public:
  template <typename T>
  void number(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    text_.append(bytes, sizeof value);
  }
  void string(std::string_view value) {
    number<std::uint64_t>(value.size());
    text_ += value;
  }
  void add(const std::string& value) { string(value); }
  void add(bool value) { number<std::uint8_t>(value ? 1 : 0); }
  template <typename T>
  void add(T value) {
    number(value);
  }
  template <typename T>
  void typed(const T& value) {
    number(kTypeNumber<T>);
    add(value);
  }
  template <typename T>
  void typed(const std::vector<T>& values) {
    number(kArrayNumber);
    number(kTypeNumber<T>);
    number<std::uint64_t>(values.size());
    for (const T& value : values) add(value);
  }
  std::string padded() {
    text_.resize(round_up<std::size_t>(text_.size(), kGgufAlignment), '\0');
    return std::move(text_);
  }

 private:
  std::string text_;
};

void check_header(const GgufHeader& header) {
  std::set<std::string_view> keys, names;
  for (const auto& entry : header.entries) SHORI_CHECK(keys.insert(entry.first).second, "a GGUF key twice");
  for (const GgufTensor& tensor : header.tensors) {
    SHORI_CHECK(names.insert(tensor.name).second, "a GGUF tensor twice: " + tensor.name);
    SHORI_CHECK(!tensor.name.empty() && tensor.name.size() <= kMaxNameBytes, "name of a GGUF tensor: " + tensor.name);
    SHORI_CHECK(tensor.count() > 0 && tensor.sizes[0] % block_values(tensor.type) == 0,
                "a row of whole blocks: " + tensor.name);
  }
}

}  // namespace

std::string_view type_name(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return "F32";
    case GgufType::kF16:
      return "F16";
    case GgufType::kQ8_0:
      return "Q8_0";
    case GgufType::kBf16:
      break;
  }
  return "BF16";
}

std::uint64_t block_values(GgufType type) { return type == GgufType::kQ8_0 ? 32 : 1; }
std::uint64_t block_bytes(GgufType type) { return type == GgufType::kQ8_0 ? 34 : type == GgufType::kF32 ? 4 : 2; }
std::uint64_t bytes_of(GgufType type, std::uint64_t count) { return count / block_values(type) * block_bytes(type); }

std::uint64_t GgufTensor::count() const {
  std::uint64_t product = sizes.empty() ? 0 : 1;
  for (const std::uint64_t size : sizes) product *= size;
  return product;
}

std::vector<std::uint64_t> GgufHeader::offsets() const {
  std::vector<std::uint64_t> result;
  std::uint64_t next = 0;
  for (const GgufTensor& tensor : tensors) {
    result.push_back(next);
    next += round_up(tensor.bytes(), kGgufAlignment);
  }
  return result;
}

std::uint64_t GgufHeader::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const GgufTensor& tensor : tensors) bytes += round_up(tensor.bytes(), kGgufAlignment);
  return bytes;
}

std::string gguf_header_bytes(const GgufHeader& header) {
  check_header(header);
  HeaderText text;
  for (const char letter : {'G', 'G', 'U', 'F'}) text.number(letter);
  text.number<std::uint32_t>(3);
  text.number<std::uint64_t>(header.tensors.size());
  text.number<std::uint64_t>(header.entries.size());
  for (const auto& [key, value] : header.entries) {
    text.string(key);
    std::visit([&](const auto& content) { text.typed(content); }, value);
  }
  const std::vector<std::uint64_t> offsets = header.offsets();
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const GgufTensor& tensor = header.tensors[i];
    text.string(tensor.name);
    text.number(static_cast<std::uint32_t>(tensor.sizes.size()));
    for (const std::uint64_t size : tensor.sizes) text.number(size);
    text.number(static_cast<std::uint32_t>(tensor.type));
    text.number(offsets[i]);
  }
  return text.padded();
}

GgufWriter::GgufWriter(const std::string& path, GgufHeader header, Sha256* file_hash)
    : path_(path),
      header_(std::move(header)),
      file_(parent_path(path), file_name(path), gguf_header_bytes(header_).size() + header_.data_bytes()),
      file_hash_(file_hash) {
  const std::string bytes = gguf_header_bytes(header_);
  write(bytes.data(), bytes.size());
  if (!header_.tensors.empty()) missing_bytes_ = header_.tensors[0].bytes();
}

void GgufWriter::write(const void* data, std::size_t bytes) {
  file_.write(data, bytes);
  if (file_hash_ != nullptr) file_hash_->update(data, bytes);
}

void GgufWriter::append(const void* data, std::size_t bytes) {
  SHORI_CHECK(tensor_ < header_.tensors.size() && bytes <= missing_bytes_, "more bytes than a GGUF tensor has");
  write(data, bytes);
  checksum_.update(data, bytes);
  missing_bytes_ -= bytes;
  if (missing_bytes_ > 0) return;
  const std::uint64_t size = header_.tensors[tensor_].bytes();
  write(kZeros, round_up(size, kGgufAlignment) - size);
  checksums_.push_back(checksum_.finish());
  checksum_ = Xxh64();
  if (++tensor_ < header_.tensors.size()) missing_bytes_ = header_.tensors[tensor_].bytes();
}

void GgufWriter::finish() {
  SHORI_CHECK(tensor_ == header_.tensors.size(), "a GGUF file lacks tensors");
  file_.sync();
}

GgufFile GgufWriter::verify() const {
  GgufFile file = GgufFile::open(InputFile::open(file_.temporary_path(), "E0804"));
  const auto fail = [&](const std::string& what) {
    throw Error(Diagnostic("E0804", concat("re-reading the export failed: ", what, " differs from what was written"))
                    .at(path_)
                    .help("check the disk and the memory of this machine"));
  };
  if (file.header() != header_) fail("the header");
  std::uint64_t total = 0;
  for (const GgufTensor& tensor : header_.tensors) total += tensor.bytes();
  ByteProgress progress("reading back", total);
  const auto checksum = [&](std::size_t i) {
    return checksum_of(header_.tensors[i].bytes(),
                       [&](std::uint64_t offset, void* into, std::size_t bytes) { file.read(i, offset, into, bytes); });
  };
  make_in_order(header_.tensors.size(), usable_cores(), checksum, [&](std::size_t i, std::uint64_t found) {
    if (found != checksums_[i]) fail(concat("tensor `", header_.tensors[i].name, "`"));
    progress.add(header_.tensors[i].bytes());
  });
  progress.finish();
  return file;
}

void GgufWriter::publish() {
  const std::string old = path_exists(path_) ? move_aside(path_) : "";
  if (!old.empty()) log_info(concat("moved ", path_, " to ", old));
  try {
    file_.commit();
  } catch (...) {
    if (!old.empty() && !path_exists(path_)) (void)std::rename(old.c_str(), path_.c_str());
    throw;
  }
}

}  // namespace shori
