#include "src/data/overlap/shingle_index.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "shori/util/error.h"

namespace shori {
namespace {

struct Entry {
  std::uint64_t hash;
  std::uint32_t document;
  bool operator<(const Entry& other) const {
    return hash != other.hash ? hash < other.hash : document < other.document;
  }
};

// A group that the cache holds: the time to sort the groups is linear in their number.
constexpr std::size_t kGroupEntries = 1024;
constexpr unsigned kMaxGroupBits = 16;

// All entries in ascending order: dealt to groups by the first bits of their hashes, each group sorted alone.
std::vector<Entry> sorted_entries(const std::vector<std::span<const std::uint64_t>>& documents, std::size_t total) {
  unsigned bits = 1;
  while (bits < kMaxGroupBits && (total >> bits) > kGroupEntries) ++bits;
  const auto group_of = [bits](std::uint64_t hash) { return static_cast<std::size_t>(hash >> (64 - bits)); };
  std::vector<std::size_t> begin((std::size_t{1} << bits) + 1, 0);
  for (const auto& shingles : documents) {
    for (const std::uint64_t hash : shingles) ++begin[group_of(hash) + 1];
  }
  for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<std::size_t> next(begin.begin(), begin.end() - 1);
  std::vector<Entry> entries(total);
  for (std::uint32_t document = 0; document < documents.size(); ++document) {
    for (const std::uint64_t hash : documents[document]) entries[next[group_of(hash)]++] = {hash, document};
  }
  for (std::size_t group = 0; group + 1 < begin.size(); ++group) {
    std::sort(entries.begin() + static_cast<std::ptrdiff_t>(begin[group]),
              entries.begin() + static_cast<std::ptrdiff_t>(begin[group + 1]));
  }
  return entries;
}

}  // namespace

ShingleIndex::ShingleIndex(const std::vector<std::span<const std::uint64_t>>& documents) {
  shingles_begin_.push_back(0);
  for (const auto& shingles : documents) shingles_begin_.push_back(shingles_begin_.back() + shingles.size());
  const std::size_t total = shingles_begin_.back();
  SHORI_CHECK(total < std::numeric_limits<std::uint32_t>::max(), "more shingles than 32 bits number");
  const std::vector<Entry> entries = sorted_entries(documents, total);
  shingles_.resize(total);
  holders_.reserve(total);
  std::vector<std::size_t> next(shingles_begin_.begin(), shingles_begin_.end() - 1);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i == 0 || entries[i].hash != entries[i - 1].hash) holders_begin_.push_back(static_cast<std::uint32_t>(i));
    holders_.push_back(entries[i].document);
    shingles_[next[entries[i].document]++] = static_cast<std::uint32_t>(holders_begin_.size() - 1);
  }
  holders_begin_.push_back(static_cast<std::uint32_t>(total));
}

std::span<const std::uint32_t> ShingleIndex::shingles_of(std::uint32_t document) const {
  return std::span(shingles_).subspan(shingles_begin_[document],
                                      shingles_begin_[document + 1] - shingles_begin_[document]);
}

std::span<const std::uint32_t> ShingleIndex::documents_with(std::uint32_t shingle) const {
  return std::span(holders_).subspan(holders_begin_[shingle], holders_begin_[shingle + 1] - holders_begin_[shingle]);
}

std::vector<std::uint32_t> ShingleIndex::rarest_first(std::uint32_t document) const {
  const auto own = shingles_of(document);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> by_count;
  by_count.reserve(own.size());
  for (const std::uint32_t shingle : own) {
    by_count.emplace_back(holders_begin_[shingle + 1] - holders_begin_[shingle], shingle);
  }
  std::sort(by_count.begin(), by_count.end());
  std::vector<std::uint32_t> shingles;
  shingles.reserve(own.size());
  for (const auto& [count, shingle] : by_count) shingles.push_back(shingle);
  return shingles;
}

double jaccard(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  std::size_t both = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      ++both;
      ++i;
      ++j;
    } else {
      ++(a[i] < b[j] ? i : j);
    }
  }
  return static_cast<double>(both) / static_cast<double>(a.size() + b.size() - both);
}

}  // namespace shori
