#include "shori/util/hash.h"

#include <algorithm>
#include <cstring>

#include "src/util/sha256_blocks.h"

namespace shori {
namespace {

void hash_blocks(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  static const auto blocks = has_sha_instructions() ? sha256_blocks_x86 : sha256_blocks_portable;
  blocks(state, data, count);
}

}  // namespace

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
      buffer_{} {}

Sha256& Sha256::update(const void* data, std::size_t size) {
  if (size == 0) return *this;
  auto bytes = static_cast<const std::uint8_t*>(data);
  const std::size_t held = size_ % buffer_.size();
  size_ += size;
  if (held > 0) {
    const std::size_t taken = std::min(size, buffer_.size() - held);
    std::memcpy(buffer_.data() + held, bytes, taken);
    if (held + taken < buffer_.size()) return *this;
    hash_blocks(state_.data(), buffer_.data(), 1);
    bytes += taken;
    size -= taken;
  }
  const std::size_t whole = size / buffer_.size();
  hash_blocks(state_.data(), bytes, whole);
  std::memcpy(buffer_.data(), bytes + whole * buffer_.size(), size % buffer_.size());
  return *this;
}

Sha256Digest Sha256::finish() {
  const std::uint64_t bits = size_ * 8;
  constexpr std::uint8_t kPadding[64] = {0x80};
  const std::size_t held = size_ % buffer_.size();
  update(kPadding, (held < 56 ? 56 : 120) - held);
  std::uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  update(length, sizeof length);
  Sha256Digest digest;
  for (std::size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

Sha256Digest sha256(const void* data, std::size_t size) { return Sha256().update(data, size).finish(); }

std::string to_hex(const void* data, std::size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto bytes = static_cast<const std::uint8_t*>(data);
  std::string text;
  text.reserve(2 * size);
  for (std::size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string to_hex(const Sha256Digest& digest) { return to_hex(digest.data(), digest.size()); }

std::string sha256_hex(std::string_view text) { return to_hex(sha256(text.data(), text.size())); }

}  // namespace shori
