#include <algorithm>
#include <cstring>

#include "shori/util/hash.h"
#include "src/util/sha256_blocks.h"

namespace shori {
namespace {

constexpr std::size_t kBlock = 64;

void hash_one(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  static const auto blocks = has_sha_instructions() ? sha256_blocks_x86 : sha256_blocks_portable;
  blocks(state, data, count);
}

void hash_two(std::uint32_t* state, const std::uint8_t* data, std::uint32_t* other_state,
              const std::uint8_t* other_data, std::size_t count) {
  static const bool is_fast = has_sha_instructions();
  if (is_fast) return sha256_two_x86(state, data, other_state, other_data, count);
  sha256_blocks_portable(state, data, count);
  sha256_blocks_portable(other_state, other_data, count);
}

const std::uint8_t* octets(std::span<const std::byte> data) {
  return reinterpret_cast<const std::uint8_t*>(data.data());
}

}  // namespace

// Fills up a block that was begun; `size` becomes that of the rest, which is returned.
const std::uint8_t* Sha256Pair::complete_block(Stream& stream, const std::uint8_t* data, std::size_t& size) {
  const std::size_t held = stream.size % kBlock;
  if (held == 0 || size == 0) return data;
  const std::size_t taken = std::min(size, kBlock - held);
  std::memcpy(stream.held.data() + held, data, taken);
  stream.size += taken;
  size -= taken;
  if (held + taken == kBlock) hash_one(stream.state.data(), stream.held.data(), 1);
  return data + taken;
}

// From the begin of a block on.
void Sha256Pair::take_rest(Stream& stream, const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  const std::size_t whole = size / kBlock;
  hash_one(stream.state.data(), data, whole);
  std::memcpy(stream.held.data(), data + whole * kBlock, size % kBlock);
  stream.size += size;
}

void Sha256Pair::update(std::span<const std::byte> first, std::span<const std::byte> second) {
  std::size_t first_size = first.size(), second_size = second.size();
  const std::uint8_t* first_data = complete_block(first_, octets(first), first_size);
  const std::uint8_t* second_data = complete_block(second_, octets(second), second_size);
  const std::size_t blocks = std::min(first_size, second_size) / kBlock, bytes = blocks * kBlock;
  if (blocks > 0) hash_two(first_.state.data(), first_data, second_.state.data(), second_data, blocks);
  first_.size += bytes;
  second_.size += bytes;
  take_rest(first_, first_data + bytes, first_size - bytes);
  take_rest(second_, second_data + bytes, second_size - bytes);
}

// The padding of FIPS 180-4: a bit 1, zeros, and the number of bits at the end of a block.
Sha256Digest Sha256Pair::finish(Stream& stream) {
  const std::uint64_t bits = stream.size * 8;
  const std::size_t held = stream.size % kBlock;
  std::array<std::uint8_t, 2 * kBlock> last{};
  std::copy_n(stream.held.data(), held, last.data());
  last[held] = 0x80;
  const std::size_t blocks = held < 56 ? 1 : 2;
  for (std::size_t i = 0; i < 8; ++i) last[blocks * kBlock - 8 + i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  hash_one(stream.state.data(), last.data(), blocks);
  Sha256Digest digest;
  for (std::size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<std::uint8_t>(stream.state[i / 4] >> (24 - 8 * (i % 4)));
  stream = Stream();
  return digest;
}

}  // namespace shori
