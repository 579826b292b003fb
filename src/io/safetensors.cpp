#include "shori/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "shori/io/limits.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/math.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::uint64_t size;
};
constexpr std::array<DTypeInfo, 15> kDTypes = {{{"BOOL", 1},
                                                {"U8", 1},
                                                {"I8", 1},
                                                {"U16", 2},
                                                {"I16", 2},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"U32", 4},
                                                {"I32", 4},
                                                {"F32", 4},
                                                {"U64", 8},
                                                {"I64", 8},
                                                {"F64", 8},
                                                {"F8_E5M2", 1},
                                                {"F8_E4M3", 1}}};

[[noreturn]] void refuse(const std::string& name, std::uint64_t byte, const char* rule, const std::string& message) {
  throw Error(Diagnostic("E0207", concat(name, ", header byte ", byte, ": ", message))
                  .at(name)
                  .note(concat("rule ", rule))
                  .help("download the file again: it is damaged, or was made to mislead"));
}

// First bytes of a zip archive (PyTorch's newer format) or of a pickle of protocol 2 to 5.
bool is_pickle_or_zip(const std::uint8_t* bytes) {
  return (bytes[0] == 'P' && bytes[1] == 'K') || (bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5);
}

// Reads one header.
class HeaderReader {
 public:
  HeaderReader(std::string_view json, std::uint64_t data_bytes, const std::string& name)
      : json_(json), data_bytes_(data_bytes), name_(name) {}

  SafetensorsHeader read() {
    const JsonValue root = parse();
    SafetensorsHeader header;
    if (root.members.size() > kMaxTensors + 1) fail(root.offset, "S1", concat("more than ", kMaxTensors, " tensors"));
    for (const auto& [key, value] : root.members) {
      if (key == "__metadata__")
        header.metadata = read_metadata(value);
      else
        header.tensors.push_back(read_tensor(key, value));
    }
    check_layout(header.tensors);
    return header;
  }

 private:
  [[noreturn]] void fail(std::uint64_t offset, const char* rule, const std::string& message) const {
    refuse(name_, 8 + offset, rule, message);
  }

  JsonValue parse() const {
    if (json_.empty() || json_.front() != '{') fail(0, "S2", "the header does not begin with `{`");
    const std::size_t last = json_.find_last_not_of(' ');
    if (json_[last] != '}') fail(last, "S2", "something other than spaces follows the header's closing brace");
    if (const auto bad = find_invalid_utf8(json_)) fail(*bad, "S2", "the header is not UTF-8");
    JsonProblem problem;
    auto root =
        parse_json(json_.substr(0, last + 1), {.bytes = kMaxSafetensorsHeader, .depth = kMaxHeaderDepth}, problem);
    if (!root) fail(problem.offset, problem.duplicate_key ? "S3" : "S2", problem.message);
    return std::move(*root);
  }

  std::map<std::string, std::string> read_metadata(const JsonValue& value) const {
    if (!value.is_object()) fail(value.offset, "S4", "`__metadata__` is not an object");
    std::map<std::string, std::string> metadata;
    std::size_t bytes = 0;
    for (const auto& [key, text] : value.members) {
      if (!text.is_string()) fail(text.offset, "S4", "a value of `__metadata__` is not a string");
      bytes += key.size() + text.text.size();
      metadata[key] = text.text;
    }
    if (bytes > kMaxMetadataBytes) fail(value.offset, "S4", "`__metadata__` is larger than 1 MiB");
    return metadata;
  }

  std::uint64_t read_number(const JsonValue& value, const char* what) const {
    const auto number = value.as_unsigned();
    if (!number) fail(value.offset, "S5", concat(what, " must be an unsigned integer"));
    return *number;
  }

  TensorEntry read_tensor(const std::string& tensor, const JsonValue& value) const {
    if (tensor.empty() || tensor.size() > kMaxTensorName)
      fail(value.key_offset, "S5", "a tensor name must have 1 to 512 bytes");
    if (!value.is_object()) fail(value.offset, "S5", "a tensor is not an object");
    const JsonValue *dtype = value.find("dtype"), *shape = value.find("shape"), *offsets = value.find("data_offsets");
    if (!dtype || !shape || !offsets || value.members.size() != 3)
      fail(value.offset, "S5", "a tensor must have exactly `dtype`, `shape` and `data_offsets`");
    const auto type = dtype->is_string() ? find_dtype(dtype->text) : std::nullopt;
    if (!type) fail(dtype->offset, "S6", "unknown dtype");
    if (!shape->is_array() || shape->items.size() > kMaxTensorRank)
      fail(shape->offset, "S5", "`shape` must be a list of at most 8 numbers");
    if (!offsets->is_array() || offsets->items.size() != 2)
      fail(offsets->offset, "S5", "`data_offsets` must be a list of two numbers");
    TensorEntry entry{tensor,
                      *type,
                      {},
                      read_number(offsets->items[0], "`data_offsets`"),
                      read_number(offsets->items[1], "`data_offsets`")};
    std::uint64_t bytes = dtype_size(*type);
    bool overflow = false;
    for (const JsonValue& item : shape->items) {
      const std::uint64_t size = read_number(item, "`shape`");
      if (size > INT64_MAX) fail(item.offset, "S7", "a dimension is out of range");
      entry.shape.push_back(static_cast<std::int64_t>(size));
      overflow |= __builtin_mul_overflow(bytes, size, &bytes);
    }
    if (entry.end < entry.begin) fail(offsets->offset, "S7", "offsets end before they begin");
    if (overflow || bytes != entry.bytes())
      fail(offsets->offset, "S7", "offsets do not have the number of bytes that the shape needs");
    return entry;
  }

  void check_layout(std::vector<TensorEntry>& tensors) const {
    std::stable_sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t position = 0;
    const TensorEntry* empty = nullptr;
    for (const TensorEntry& entry : tensors) {
      if (entry.bytes() == 0) {
        if (empty && empty->begin == entry.begin)
          fail(0, "S8", "two empty tensors at one offset: " + escape_for_log(entry.name));
        empty = &entry;
      }
      if (entry.begin > position)
        fail(0, "S7",
             concat("offsets leave a hole of ", entry.begin - position, " bytes before ", escape_for_log(entry.name)));
      if (entry.begin < position) fail(0, "S7", "offsets overlap at " + escape_for_log(entry.name));
      position = entry.end;
    }
    if (position > data_bytes_)
      throw Error(Diagnostic("E0203", concat(name_, ": file has ", 8 + json_.size() + data_bytes_,
                                             " bytes, its header needs ", 8 + json_.size() + position))
                      .at(name_)
                      .note(concat(position - data_bytes_, " bytes short"))
                      .help("download it again"));
    if (position < data_bytes_) fail(0, "S7", concat(data_bytes_ - position, " bytes after the last tensor"));
  }

  std::string_view json_;
  std::uint64_t data_bytes_;
  const std::string& name_;
};

}  // namespace

std::string_view dtype_name(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].name; }
std::uint64_t dtype_size(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].size; }
std::optional<FileDType> find_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kDTypes.size(); ++i)
    if (kDTypes[i].name == name) return static_cast<FileDType>(i);
  return std::nullopt;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& name) {
  return HeaderReader(json, data_bytes, name).read();
}

SafetensorsFile SafetensorsFile::open(InputFile file) {
  SafetensorsFile result(std::move(file));
  const std::string& path = result.file_.path();
  const std::uint64_t size = result.file_.size();
  if (size < 8) refuse(path, 0, "S1", concat("the file has ", size, " bytes, too few for a header"));
  std::uint8_t length_bytes[8];
  result.file_.read_at(0, length_bytes, 8);
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | length_bytes[i];
  if (length > kMaxSafetensorsHeader && is_pickle_or_zip(length_bytes))
    throw Error(Diagnostic("E0202", path + " is a pickle or zip file under another name")
                    .at(path)
                    .note("pickle files can run code when they are loaded, so they are never read")
                    .help("download the safetensors version of the model"));
  if (length < 2) refuse(path, 0, "S1", concat("a header of ", length, " bytes is too short"));
  if (length > kMaxSafetensorsHeader) refuse(path, 0, "S1", concat("a header of ", length, " bytes is too long"));
  if (length > size - 8)
    throw Error(Diagnostic("E0203", concat(path, ": file has ", size, " bytes, its header alone needs ", length + 8))
                    .at(path)
                    .help("download it again"));
  std::string bytes(8 + length, '\0');
  result.file_.read_at(0, bytes.data(), bytes.size());
  result.data_start_ = bytes.size();
  result.header_sha256_ = sha256_hex(bytes);
  result.header_ = parse_safetensors_header(std::string_view(bytes).substr(8), size - bytes.size(), path);
  for (std::size_t i = 0; i < result.header_.tensors.size(); ++i) result.by_name_[result.header_.tensors[i].name] = i;
  return result;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.tensors[found->second];
}

void SafetensorsFile::read(const TensorEntry& entry, std::uint64_t offset, void* into, std::uint64_t bytes) const {
  SHORI_CHECK(offset <= entry.bytes() && bytes <= entry.bytes() - offset, "read beyond the tensor " + entry.name);
  file_.read_at(data_start_ + entry.begin + offset, into, bytes);
}

Sha256Digest SafetensorsFile::digest(const TensorEntry& entry, void (*before_chunk)()) const {
  constexpr std::uint64_t kChunk = 4u << 20;
  std::vector<std::byte> chunk(std::min(kChunk, entry.bytes()));
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < entry.bytes(); offset += kChunk) {
    if (before_chunk != nullptr) before_chunk();
    const std::uint64_t bytes = std::min(kChunk, entry.bytes() - offset);
    read(entry, offset, chunk.data(), bytes);
    hash.update(chunk.data(), bytes);
  }
  return hash.finish();
}

std::uint64_t NamedArray::count() const {
  std::uint64_t result = 1;
  for (const std::int64_t size : shape) result *= static_cast<std::uint64_t>(size);
  return result;
}

std::string make_safetensors_header(std::span<const NamedArray> arrays,
                                    const std::vector<std::pair<std::string, std::string>>& metadata) {
  Json header = {{"__metadata__", Json::object()}};
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  std::uint64_t position = 0;
  for (const NamedArray& array : arrays) {
    const std::uint64_t end = position + array.bytes();
    header[array.name] = {
        {"dtype", dtype_name(array.dtype)}, {"shape", array.shape}, {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = json_text(header);
  text.resize(round_up<std::size_t>(text.size(), 8), ' ');
  std::string result(8, '\0');
  for (int i = 0; i < 8; ++i) result[static_cast<std::size_t>(i)] = static_cast<char>(text.size() >> (8 * i));
  return result + text;
}

}  // namespace shori
