// SHA-256, with the CPU's SHA instructions where it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

Sha256Digest sha256(const void* data, std::size_t size);
std::string to_hex(const Sha256Digest& digest);  // 64 lower-case digits
std::string sha256_hex(std::string_view text);
std::string to_hex(const void* data, std::size_t size);  // any bytes

}  // namespace shori
