// Which conversations hold which shingle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace shori {

// Shingles are numbered in ascending order of their hashes, documents in the order given.
class ShingleIndex {
 public:
  // Each set is distinct and ascending.
  explicit ShingleIndex(const std::vector<std::span<const std::uint64_t>>& documents);

  // Numbers of the shingles of a document, ascending.
  std::span<const std::uint32_t> shingles_of(std::uint32_t document) const;
  // The documents that hold a shingle, ascending.
  std::span<const std::uint32_t> documents_with(std::uint32_t shingle) const;
  // The shingles of a document by the number of documents that have them, fewest first; the order is total, so all
  // documents agree on it.
  std::vector<std::uint32_t> rarest_first(std::uint32_t document) const;

 private:
  // The lists of all shingles, then of all documents, concatenated, and where each list begins.
  std::vector<std::uint32_t> holders_, holders_begin_;
  std::vector<std::uint32_t> shingles_;
  std::vector<std::size_t> shingles_begin_;
};

// Jaccard index of two ascending sets.
double jaccard(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);

}  // namespace shori
