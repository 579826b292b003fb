#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/export/gguf/gguf_file.h"

namespace shori {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 256u << 20;
constexpr std::uint64_t kMaxStringBytes = 1u << 20;
constexpr std::uint64_t kMinEntryBytes = 13, kMinTensorBytes = 32;
constexpr std::uint32_t kMaxDimensions = 4;

[[noreturn]] void fail(const InputFile& file, const std::string& rule) {
  throw Error(Diagnostic("E0804", "not the GGUF file that was written: " + rule).at(file.path()));
}

// Product of the sizes; nullopt for zero or beyond 2^56.
std::optional<std::uint64_t> checked_product(const std::vector<std::uint64_t>& sizes) {
  std::uint64_t product = 1;
  for (const std::uint64_t size : sizes) {
    if (size == 0 || product > (1ull << 56) / size) return std::nullopt;
    product *= size;
  }
  return product;
}

// Reads the bytes before the data in chunks: their number is not known before they are parsed.
class HeaderReader {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file) {}

  GgufHeader read() {
    std::uint64_t tensors = 0, entries = 0;
    if (bytes(4) != "GGUF" || number<std::uint32_t>() != 3) fail(file_, "magic or version");
    tensors = number<std::uint64_t>();
    entries = number<std::uint64_t>();
    if (entries > left() / kMinEntryBytes || tensors > left() / kMinTensorBytes) fail(file_, "counts beyond the file");
    GgufHeader header;
    std::set<std::string> keys, names;
    for (std::uint64_t i = 0; i < entries; ++i) {
      header.entries.push_back(read_entry());
      if (!keys.insert(header.entries.back().first).second) fail(file_, "a key twice");
    }
    for (std::uint64_t i = 0; i < tensors; ++i) {
      header.tensors.push_back(read_tensor());
      if (!names.insert(header.tensors.back().name).second) fail(file_, "a tensor twice");
    }
    return header;
  }

  const std::vector<std::uint64_t>& offsets() const { return offsets_; }
  std::uint64_t position() const { return position_; }

 private:
  std::uint64_t left() const { return file_.size() - position_; }

  std::string_view bytes(std::uint64_t count) {
    if (count > left() || position_ + count > kMaxHeaderBytes) fail(file_, "the header ends early");
    if (position_ + count > first_ + chunk_.size()) {
      first_ = position_;
      chunk_.resize(std::min<std::uint64_t>(left(), std::max<std::uint64_t>(count, 1u << 16)));
      file_.read_at(first_, chunk_.data(), chunk_.size());
    }
    const std::string_view result = std::string_view(chunk_).substr(position_ - first_, count);
    position_ += count;
    return result;
  }

  template <typename T>
  T number() {
    T value{};
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }

  std::string string() {
    const auto size = number<std::uint64_t>();
    if (size > kMaxStringBytes || size > left()) fail(file_, "a string beyond the file");
    const std::string_view text = bytes(size);
    if (text.find('\0') != std::string_view::npos || find_invalid_utf8(text)) fail(file_, "a string that is no text");
    return std::string(text);
  }

  bool boolean() {
    const auto value = number<std::uint8_t>();
    if (value > 1) fail(file_, "a truth value that is neither 0 nor 1");
    return value == 1;
  }

  template <typename T>
  std::vector<T> numbers(std::uint64_t count) {
    if (count > left() / sizeof(T)) fail(file_, "an array beyond the file");
    std::vector<T> values(count);
    std::memcpy(values.data(), bytes(count * sizeof(T)).data(), count * sizeof(T));
    return values;
  }

  std::vector<std::string> strings(std::uint64_t count) {
    if (count > left() / sizeof(std::uint64_t)) fail(file_, "an array beyond the file");
    std::vector<std::string> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(string());
    return values;
  }

  GgufValue array() {
    const auto type = number<std::uint32_t>();
    const auto count = number<std::uint64_t>();
    switch (type) {
      case 5:
        return numbers<std::int32_t>(count);
      case 6:
        return numbers<float>(count);
      case 8:
        return strings(count);
      default:
        fail(file_, concat("an array of type ", type));
    }
  }

  GgufValue value() {
    switch (const auto type = number<std::uint32_t>()) {
      case 4:
        return number<std::uint32_t>();
      case 5:
        return number<std::int32_t>();
      case 6:
        return number<float>();
      case 7:
        return boolean();
      case 8:
        return string();
      case 9:
        return array();
      default:
        fail(file_, concat("a value of type ", type));
    }
  }

  std::pair<std::string, GgufValue> read_entry() {
    std::string key = string();
    return {std::move(key), value()};
  }

  GgufTensor read_tensor() {
    GgufTensor tensor;
    tensor.name = string();
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) fail(file_, "name of a tensor");
    const auto dimensions = number<std::uint32_t>();
    if (dimensions == 0 || dimensions > kMaxDimensions) fail(file_, "dimensions of " + tensor.name);
    for (std::uint32_t i = 0; i < dimensions; ++i) tensor.sizes.push_back(number<std::uint64_t>());
    tensor.type = read_type(tensor.name);
    if (!checked_product(tensor.sizes) || tensor.sizes[0] % block_values(tensor.type) != 0)
      fail(file_, "size of " + tensor.name);
    offsets_.push_back(number<std::uint64_t>());
    return tensor;
  }

  GgufType read_type(const std::string& name) {
    const auto number_of_type = number<std::uint32_t>();
    for (const GgufType type : {GgufType::kF32, GgufType::kF16, GgufType::kQ8_0, GgufType::kBf16})
      if (static_cast<std::uint32_t>(type) == number_of_type) return type;
    fail(file_, "type of " + name);
  }

  const InputFile& file_;
  std::uint64_t position_ = 0;
  std::uint64_t first_ = 0;  // of chunk_ in the file
  std::string chunk_;
  std::vector<std::uint64_t> offsets_;
};

// Bytes first .. end - 1 are zero; at most one alignment.
void check_padding(const InputFile& file, std::uint64_t first, std::uint64_t end) {
  char bytes[kGgufAlignment] = {};
  file.read_at(first, bytes, end - first);
  if (std::any_of(bytes, bytes + (end - first), [](char byte) { return byte != 0; })) fail(file, "padding");
}

}  // namespace

GgufFile GgufFile::open(InputFile file) {
  GgufFile result(std::move(file));
  const InputFile& input = result.file_;
  HeaderReader reader(input);
  result.header_ = reader.read();
  result.offsets_ = reader.offsets();
  const std::uint64_t header_end = reader.position();
  result.data_start_ = round_up(header_end, kGgufAlignment);
  std::uint64_t next = result.data_start_;
  if (next > input.size()) fail(input, "the file ends before the data");
  check_padding(input, header_end, next);
  for (std::size_t i = 0; i < result.offsets_.size(); ++i) {
    const GgufTensor& tensor = result.header_.tensors[i];
    const std::uint64_t bytes = tensor.bytes(), padded = round_up(bytes, kGgufAlignment);
    if (result.offsets_[i] != next - result.data_start_ || padded > input.size() - next)
      fail(input, "offset of " + tensor.name);
    check_padding(input, next + bytes, next + padded);
    next += padded;
  }
  if (next != input.size()) fail(input, "bytes after the last tensor");
  return result;
}

void GgufFile::read(std::size_t index, std::uint64_t offset, void* into, std::uint64_t bytes) const {
  SHORI_CHECK(offset <= header_.tensors[index].bytes() && bytes <= header_.tensors[index].bytes() - offset,
              "a read beyond a GGUF tensor");
  file_.read_at(data_start_ + offsets_[index] + offset, into, bytes);
}

}  // namespace shori
