#include "shori/util/xxh64.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace shori {
namespace {

constexpr std::uint64_t kPrime1 = 0x9e3779b185ebca87, kPrime2 = 0xc2b2ae3d27d4eb4f, kPrime3 = 0x165667b19e3779f9,
                        kPrime4 = 0x85ebca77c2b2ae63, kPrime5 = 0x27d4eb2f165667c5;

template <typename T>
T number_at(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::uint64_t rounded(std::uint64_t lane, std::uint64_t word) { return std::rotl(lane + word * kPrime2, 31) * kPrime1; }

void take_stripes(std::array<std::uint64_t, 4>& lanes, const std::uint8_t* bytes, std::size_t count) {
  std::array<std::uint64_t, 4> now = lanes;
  for (std::size_t i = 0; i < count; ++i, bytes += 32)
    for (std::size_t lane = 0; lane < 4; ++lane)
      now[lane] = rounded(now[lane], number_at<std::uint64_t>(bytes + 8 * lane));
  lanes = now;
}

std::uint64_t joined(const std::array<std::uint64_t, 4>& lanes) {
  std::uint64_t hash =
      std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
  for (const std::uint64_t lane : lanes) hash = (hash ^ rounded(0, lane)) * kPrime1 + kPrime4;
  return hash;
}

// Fewer bytes than a stripe.
std::uint64_t with_rest(std::uint64_t hash, const std::uint8_t* bytes, std::size_t size) {
  for (; size >= 8; bytes += 8, size -= 8)
    hash = std::rotl(hash ^ rounded(0, number_at<std::uint64_t>(bytes)), 27) * kPrime1 + kPrime4;
  for (; size >= 4; bytes += 4, size -= 4)
    hash = std::rotl(hash ^ number_at<std::uint32_t>(bytes) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; size > 0; ++bytes, --size) hash = std::rotl(hash ^ *bytes * kPrime5, 11) * kPrime1;
  return hash;
}

std::uint64_t avalanche(std::uint64_t hash) {
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace

Xxh64::Xxh64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

Xxh64& Xxh64::update(const void* data, std::size_t size) {
  if (size == 0) return *this;
  auto bytes = static_cast<const std::uint8_t*>(data);
  const std::size_t held = size_ % held_.size();
  size_ += size;
  if (held > 0) {
    const std::size_t taken = std::min(size, held_.size() - held);
    std::memcpy(held_.data() + held, bytes, taken);
    if (held + taken < held_.size()) return *this;
    take_stripes(lanes_, held_.data(), 1);
    bytes += taken;
    size -= taken;
  }
  const std::size_t whole = size / held_.size();
  take_stripes(lanes_, bytes, whole);
  std::memcpy(held_.data(), bytes + whole * held_.size(), size % held_.size());
  return *this;
}

std::uint64_t Xxh64::finish() const {
  const std::uint64_t hash = size_ < held_.size() ? kPrime5 : joined(lanes_);
  return avalanche(with_rest(hash + size_, held_.data(), size_ % held_.size()));
}

}  // namespace shori
