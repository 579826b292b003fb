#include "src/data/tokens/word_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "shori/util/utf8.h"

namespace shori {
namespace {

std::size_t end_of_word(std::string_view text, std::size_t begin) {
  if (text[begin] == '\n') return begin + 1;
  std::size_t end = begin;
  while (end < text.size() && text[end] == ' ') ++end;
  while (end < text.size() && text[end] != ' ' && text[end] != '\n') ++end;
  return end;
}

std::uint64_t hash(const std::array<std::uint64_t, 3>& word) {
  std::uint64_t hash = word[0] * 0x9E3779B97F4A7C15u;
  hash = (hash ^ hash >> 29 ^ word[1]) * 0xBF58476D1CE4E5B9u;
  hash = (hash ^ hash >> 31 ^ word[2]) * 0x94D049BB133111EBu;
  return hash ^ hash >> 32;
}

}  // namespace

bool WordCache::append(std::string_view text, std::vector<std::int32_t>& ids) {
  if (text.find('\0') != std::string_view::npos || text.find(kSpaceMark) != std::string_view::npos ||
      find_invalid_utf8(text)) {
    return false;
  }
  const std::size_t before = ids.size();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = end_of_word(text, begin);
    if (end - begin > WordBpe::kMaxWordBytes) {
      ids.resize(before);
      return false;
    }
    append_word(text.substr(begin, end - begin), ids);
    begin = end;
  }
  return true;
}

void WordCache::append_word(std::string_view word, std::vector<std::int32_t>& ids) {
  std::array<std::uint64_t, 3> key{};  // words without NUL differ after padding, too
  if (word.size() > sizeof key) return bpe_.append(word, ids);
  std::memcpy(key.data(), word.data(), word.size());
  Slot& slot = slots_[hash(key) % kSlots];
  if (slot.word == key) {
    ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.id_count);
    return;
  }
  const std::size_t before = ids.size();
  bpe_.append(word, ids);
  const std::size_t count = ids.size() - before;
  if (count > slot.ids.size()) return;
  slot.word = key;
  std::copy_n(ids.end() - static_cast<std::ptrdiff_t>(count), count, slot.ids.begin());
  slot.id_count = static_cast<std::uint8_t>(count);
}

std::unique_ptr<WordCache> WordCachePool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<WordCache> cache = std::move(idle_.back());
      idle_.pop_back();
      return cache;
    }
  }
  return std::make_unique<WordCache>(bpe_);
}

void WordCachePool::give_back(std::unique_ptr<WordCache> cache) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(cache));
}

}  // namespace shori
