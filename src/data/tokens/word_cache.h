// Ids of words that were met before, so that most of a text is a look-up a word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "src/data/tokens/word_bpe.h"

namespace shori {

// Used by one thread at a time. Ids do not depend on what the cache holds.
class WordCache {
 public:
  explicit WordCache(const WordBpe& bpe) : bpe_(bpe), slots_(kSlots) {}

  // Appends the ids of a text without a dummy prefix. False, and `ids` as before, where only the library gives the right ids:
  // the text is not UTF-8, or holds NUL, U+2581 or a word longer than WordBpe::kMaxWordBytes.
  bool append(std::string_view text, std::vector<std::int32_t>& ids);

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 16;

  // One cache line. The word is padded with zeros.
  struct alignas(64) Slot {
    std::array<std::uint64_t, 3> word{};
    std::array<std::int32_t, 9> ids{};
    std::uint8_t id_count = 0;
  };

  void append_word(std::string_view word, std::vector<std::int32_t>& ids);

  const WordBpe& bpe_;
  std::vector<Slot> slots_;  // direct-mapped: a word replaces the one with which it collides
};

// The caches of a tokenizer: as many as threads encode at once, kept for later calls from any thread.
class WordCachePool {
 public:
  explicit WordCachePool(const TokenizerModel& model) : bpe_(model) {}

  std::unique_ptr<WordCache> take();
  void give_back(std::unique_ptr<WordCache> cache);

 private:
  const WordBpe bpe_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> idle_;
};

}  // namespace shori
