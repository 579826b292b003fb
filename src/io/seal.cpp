#include "shori/io/seal.h"

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/hash.h"

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

}  // namespace

std::string make_seal(const SealFields& fields, std::string_view header, std::string_view manifest) {
  SHORI_CHECK(fields.magic.size() == 8, "the magic of a seal has 8 characters");
  std::string seal(kSealBytes, '\0');
  std::ranges::copy(fields.magic, seal.begin());
  put_u64(seal, kSizeAt, fields.file_size);
  put_u64(seal, kNumberAt, fields.number);
  const Sha256Digest digest = Sha256().update(header).update(manifest).finish();
  std::ranges::copy(digest, seal.begin() + kDigestAt);
  put_u64(seal, kVersionAt, fields.version);
  return seal;
}

std::uint64_t seal_number(std::string_view seal) { return get_u64(seal, kNumberAt); }
std::uint64_t seal_version(std::string_view seal) { return get_u64(seal, kVersionAt); }

}  // namespace shori
