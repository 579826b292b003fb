// SHA-256 as in FIPS 180-4. The x86 form follows Intel's description of the SHA extensions: sha256rnds2 does two rounds
// on the state held as ABEF and CDGH, sha256msg1 and sha256msg2 make four message words.
#include "src/util/sha256_blocks.h"

#include <bit>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace shori {
namespace {

alignas(16) constexpr std::uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void expand_message(const std::uint8_t* block, std::uint32_t* words) {
  for (int i = 0; i < 16; ++i)
    words[i] = static_cast<std::uint32_t>(block[4 * i]) << 24 | static_cast<std::uint32_t>(block[4 * i + 1]) << 16 |
               static_cast<std::uint32_t>(block[4 * i + 2]) << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; ++i) {
    const std::uint32_t a = words[i - 15], b = words[i - 2];
    const std::uint32_t s0 = std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3);
    const std::uint32_t s1 = std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10);
    words[i] = words[i - 16] + s0 + words[i - 7] + s1;
  }
}

void compress(std::uint32_t* state, const std::uint8_t* block) {
  std::uint32_t words[64];
  expand_message(block, words);
  std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRoundConstants[i] + words[i];
    const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  const std::uint32_t result[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state[i] += result[i];
}

}  // namespace

void sha256_blocks_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) compress(state, data + 64 * i);
}

#if defined(__x86_64__)

bool has_sha_instructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  const bool ssse3 = (c >> 9) & 1u, sse41 = (c >> 19) & 1u;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return ssse3 && sse41 && ((b >> 29) & 1u) != 0;
}

namespace {

// Streams side by side: an instruction waits for the one before in its own stream only, so that two take about the time of
// one.
template <int kStreams>
__attribute__((target("sha,sse4.1,ssse3"))) void hash_streams(std::uint32_t* const (&states)[kStreams],
                                                              const std::uint8_t* const (&data)[kStreams],
                                                              std::size_t count) {
  const __m128i byte_order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef[kStreams], cdgh[kStreams];
  for (int s = 0; s < kStreams; ++s) {
    const auto* state = reinterpret_cast<const __m128i*>(states[s]);
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b);
    abef[s] = _mm_alignr_epi8(cdab, efgh, 8);
    cdgh[s] = _mm_blend_epi16(efgh, cdab, 0xf0);
  }
  for (std::size_t block = 0; block < count; ++block) {
    __m128i abef_before[kStreams], cdgh_before[kStreams], message[kStreams][4];
    for (int s = 0; s < kStreams; ++s) {
      abef_before[s] = abef[s], cdgh_before[s] = cdgh[s];
      const auto* words = reinterpret_cast<const __m128i*>(data[s] + 64 * block);
      for (int i = 0; i < 4; ++i) message[s][i] = _mm_shuffle_epi8(_mm_loadu_si128(words + i), byte_order);
    }
#pragma GCC unroll 16  // keeps the message in registers
    for (int group = 0; group < 16; ++group) {
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants) + group);
#pragma GCC unroll 2
      for (int s = 0; s < kStreams; ++s) {
        __m128i& words = message[s][group & 3];
        if (group >= 4) {
          const __m128i& next = message[s][(group + 1) & 3];
          const __m128i &third = message[s][(group + 2) & 3], &fourth = message[s][(group + 3) & 3];
          words = _mm_add_epi32(_mm_sha256msg1_epu32(words, next), _mm_alignr_epi8(fourth, third, 4));
          words = _mm_sha256msg2_epu32(words, fourth);
        }
        const __m128i sum = _mm_add_epi32(words, constants);
        cdgh[s] = _mm_sha256rnds2_epu32(cdgh[s], abef[s], sum);
        abef[s] = _mm_sha256rnds2_epu32(abef[s], cdgh[s], _mm_shuffle_epi32(sum, 0x0e));
      }
    }
    for (int s = 0; s < kStreams; ++s) {
      abef[s] = _mm_add_epi32(abef[s], abef_before[s]);
      cdgh[s] = _mm_add_epi32(cdgh[s], cdgh_before[s]);
    }
  }
  for (int s = 0; s < kStreams; ++s) {
    const __m128i feba = _mm_shuffle_epi32(abef[s], 0x1b), dchg = _mm_shuffle_epi32(cdgh[s], 0xb1);
    auto* state = reinterpret_cast<__m128i*>(states[s]);
    _mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
  }
}

}  // namespace

void sha256_blocks_x86(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  hash_streams<1>({state}, {data}, count);
}

void sha256_two_x86(std::uint32_t* state, const std::uint8_t* data, std::uint32_t* other_state,
                    const std::uint8_t* other_data, std::size_t count) {
  hash_streams<2>({state, other_state}, {data, other_data}, count);
}

#else

bool has_sha_instructions() { return false; }

void sha256_blocks_x86(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
  sha256_blocks_portable(state, data, count);
}

void sha256_two_x86(std::uint32_t* state, const std::uint8_t* data, std::uint32_t* other_state,
                    const std::uint8_t* other_data, std::size_t count) {
  sha256_blocks_portable(state, data, count);
  sha256_blocks_portable(other_state, other_data, count);
}

#endif

}  // namespace shori
