// SHA-256, with the CPU's SHA instructions where it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace shori {

using Sha256Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  Sha256& update(const void* data, std::size_t size);
  Sha256& update(std::string_view text) { return update(text.data(), text.size()); }
  Sha256Digest finish();  // once; the object cannot be used after it

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> buffer_;
  std::uint64_t size_ = 0;
};

// Two hashes side by side, which with SHA instructions take the time of one.
class Sha256Pair {
 public:
  // The next bytes of both; the time is that of the longer ones.
  void update(std::span<const std::byte> first, std::span<const std::byte> second);

  // Ends one hash, and begins it again.
  Sha256Digest finish_first() { return finish(first_); }
  Sha256Digest finish_second() { return finish(second_); }

 private:
  struct Stream {
    std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> held{};  // the beginning of a block
    std::uint64_t size = 0;
  };
  static const std::uint8_t* complete_block(Stream& stream, const std::uint8_t* data, std::size_t& size);
  static void take_rest(Stream& stream, const std::uint8_t* data, std::size_t size);
  static Sha256Digest finish(Stream& stream);

  Stream first_, second_;
};

Sha256Digest sha256(const void* data, std::size_t size);
std::string to_hex(const Sha256Digest& digest);  // 64 lower-case digits
std::string sha256_hex(std::string_view text);
std::string to_hex(const void* data, std::size_t size);  // any bytes

}  // namespace shori
