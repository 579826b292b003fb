#include "shori/io/sealed_file.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "shori/io/limits.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::size_t kSizeAt = 8, kNumberAt = 16, kDigestAt = 24, kVersionAt = 56;

void put_u64(std::string& seal, std::size_t at, std::uint64_t value) {
  for (std::size_t i = 0; i < 8; ++i) seal[at + i] = static_cast<char>(value >> (8 * i));
}

std::uint64_t get_u64(std::string_view seal, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(seal[at + i]);
  return value;
}

struct SealFields {
  std::string_view magic;
  std::uint64_t file_size, number, version;
};

std::string make_seal(const SealFields& fields, std::string_view header, std::string_view manifest) {
  std::string seal(kSealBytes, '\0');
  std::ranges::copy(fields.magic, seal.begin());
  put_u64(seal, kSizeAt, fields.file_size);
  put_u64(seal, kNumberAt, fields.number);
  const Sha256Digest digest = Sha256().update(header).update(manifest).finish();
  std::ranges::copy(digest, seal.begin() + kDigestAt);
  put_u64(seal, kVersionAt, fields.version);
  return seal;
}

NamedArray byte_array(const char* name, std::size_t bytes) {
  return {name, FileDType::kU8, {static_cast<std::int64_t>(bytes)}};
}

SafetensorsFile open_container(const std::string& folder, const std::string& name) {
  try {
    return SafetensorsFile::open(InputFile::open_in(folder, name));
  } catch (const Error& error) {
    throw DamagedFile{error.diagnostics().front().message};
  }
}

std::string read_text(const SafetensorsFile& file, const TensorEntry& entry) {
  if (entry.bytes() > kMaxJsonFile) throw DamagedFile{concat(entry.name, " is too large")};
  std::string text(entry.bytes(), '\0');
  file.read(entry, 0, text.data(), text.size());
  return text;
}

std::string read_header(const SafetensorsFile& file) {
  std::string header(file.data_start(), '\0');
  file.file().read_at(0, header.data(), header.size());
  return header;
}

JsonValue parse_manifest(const std::string& text) {
  JsonProblem problem;
  auto value = parse_json(text, {.bytes = kMaxJsonFile, .depth = 8}, problem);
  if (!value || !value->is_object()) throw DamagedFile{"the manifest cannot be read: " + problem.message};
  return std::move(*value);
}

}  // namespace

SealedLayout::SealedLayout(const SealedFormat& format, std::span<const NamedArray> arrays, std::size_t manifest_bytes)
    : format_(format), arrays_(arrays.begin(), arrays.end()), manifest_bytes_(manifest_bytes) {
  SHORI_CHECK(format.magic.size() == 8, "the magic of a seal has 8 characters");
  std::vector<NamedArray> all = arrays_;
  all.push_back(byte_array(kManifestName, manifest_bytes));
  all.push_back(byte_array(kSealName, kSealBytes));
  header_ = make_safetensors_header(all, {{"format", "pt"}, {"shori", std::string(format.label)}});
  file_size_ = header_.size();
  for (const NamedArray& array : all) file_size_ += array.bytes();
}

SealedWriter::SealedWriter(const SealedLayout& layout, Write write) : layout_(layout), write_(std::move(write)) {
  write_(layout_.header().data(), layout_.header().size());
  record_complete_arrays();
}

void SealedWriter::append(const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  SHORI_CHECK(array_ < layout_.arrays().size() && bytes <= layout_.arrays()[array_].bytes() - done_,
              "more bytes than the array of a sealed file has");
  write_(data, bytes);
  hash_.update(data, bytes);
  done_ += bytes;
  record_complete_arrays();
}

void SealedWriter::record_complete_arrays() {
  for (; array_ < layout_.arrays().size() && done_ == layout_.arrays()[array_].bytes(); ++array_, done_ = 0) {
    digests_[layout_.arrays()[array_].name] = to_hex(hash_.finish());
    hash_ = Sha256();
  }
}

void SealedWriter::finish(const Json& fields, std::uint64_t number) {
  SHORI_CHECK(array_ == layout_.arrays().size(), "a sealed file lacks bytes of its arrays");
  Json manifest = fields;
  manifest["tensors"] = digests_;
  std::string text = canonical_json(manifest);
  SHORI_CHECK(text.size() <= layout_.manifest_bytes(), "the manifest outgrew the space reserved for it");
  text.resize(layout_.manifest_bytes(), ' ');
  write_(text.data(), text.size());
  const SealedFormat& format = layout_.format();
  const std::string seal =
      make_seal({format.magic, layout_.file_size(), number, format.version}, layout_.header(), text);
  write_(seal.data(), seal.size());
}

std::size_t manifest_text_bytes(const Json& fields, std::span<const NamedArray> arrays) {
  std::map<std::string, std::string> digests;
  for (const NamedArray& array : arrays) digests[array.name] = std::string(64, '0');
  Json manifest = fields;
  manifest["tensors"] = digests;
  return canonical_json(manifest).size();
}

std::span<const TensorEntry> SealedFile::arrays() const {
  return std::span(file.tensors()).first(file.tensors().size() - 2);
}

const std::string& SealedFile::recorded_sha256(const std::string& name) const {
  const JsonValue* tensors = manifest.find("tensors");
  const JsonValue* digest = tensors ? tensors->find(name) : nullptr;
  if (!digest || !digest->is_string()) throw DamagedFile{concat("the manifest has no SHA-256 of ", name)};
  return digest->text;
}

SealedFile open_sealed_file(const std::string& folder, const std::string& name, std::string_view magic) {
  SealedFile sealed{open_container(folder, name), {}};
  const SafetensorsFile& file = sealed.file;
  const auto& tensors = file.tensors();
  if (tensors.size() < 2 || tensors[tensors.size() - 2].name != kManifestName || tensors.back().name != kSealName ||
      tensors.back().bytes() != kSealBytes)
    throw DamagedFile{"manifest and seal are not at its end"};
  const std::string manifest = read_text(file, tensors[tensors.size() - 2]), seal = read_text(file, tensors.back());
  if (!seal.starts_with(magic)) throw DamagedFile{"the seal is missing (the file was not finished)"};
  sealed.number = get_u64(seal, kNumberAt);
  sealed.version = get_u64(seal, kVersionAt);
  if (seal != make_seal({magic, file.file().size(), sealed.number, sealed.version}, read_header(file), manifest))
    throw DamagedFile{"the seal does not match the file"};
  sealed.manifest = parse_manifest(manifest);
  // The seal's digest does not cover the version: only a manifest that agrees shows that it is no flipped bit.
  const JsonValue* format = sealed.manifest.find("format");
  if (!format || format->as_unsigned() != sealed.version)
    throw DamagedFile{"seal and manifest disagree about the format"};
  return sealed;
}

void check_arrays(const SealedFile& sealed) {
  for (const TensorEntry& entry : sealed.arrays()) {
    if (to_hex(sealed.file.digest(entry)) != sealed.recorded_sha256(entry.name))
      throw DamagedFile{entry.name + ": checksum differs"};
  }
}

}  // namespace shori
