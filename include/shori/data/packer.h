// Which samples share a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shori {

enum class PackMode {
  kBestFit,  // best-fit decreasing: by length, ties by position; the fullest row that still has room. Rows are in the
             // order of the position of their longest (first placed) sample, samples in a row by position
  kNextFit,  // Axolotl of early 2024: as many as fit of what comes next; in a row longest first, equal lengths in
             // reverse order
  kSingle,   // every sample its own row
};

using Row = std::vector<std::uint32_t>;  // sample indices, in the order of their tokens

// `order` names samples in the order of the epoch, `lengths` is indexed by sample. Every sample of `order` is in
// exactly one row; no row exceeds `capacity`. A sample longer than `capacity` is an internal error. O(n log n).
std::vector<Row> pack_rows(std::span<const std::int64_t> lengths, std::span<const std::uint32_t> order,
                           std::int64_t capacity, PackMode mode);

// Length of a row of `tokens` real ids after right-padding to a multiple of 64; with `to_capacity`, to the multiple of
// 64 that holds `capacity`.
std::int64_t padded_length(std::int64_t tokens, std::int64_t capacity, bool to_capacity);

}  // namespace shori
