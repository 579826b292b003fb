#include "shori/data/packer.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::int64_t kRowMultiple = 64;

// Positions in `order`, longest first, equal lengths by position.
std::vector<std::uint32_t> positions_by_length(std::span<const std::int64_t> lengths,
                                               std::span<const std::uint32_t> order) {
  std::vector<std::uint32_t> positions(order.size());
  std::iota(positions.begin(), positions.end(), 0u);
  std::stable_sort(positions.begin(), positions.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return lengths[order[a]] > lengths[order[b]]; });
  return positions;
}

std::vector<Row> pack_best_fit(std::span<const std::int64_t> lengths, std::span<const std::uint32_t> order,
                               std::int64_t capacity) {
  std::vector<Row> rows;                                        // of positions, in the order in which they were opened
  std::set<std::pair<std::int64_t, std::uint32_t>> free_space;  // (free ids, row)
  for (const std::uint32_t position : positions_by_length(lengths, order)) {
    const std::int64_t length = lengths[order[position]];
    const auto fit = free_space.lower_bound({length, 0});
    if (fit == free_space.end()) {
      free_space.insert({capacity - length, static_cast<std::uint32_t>(rows.size())});
      rows.push_back({position});
      continue;
    }
    const auto [space, row] = *fit;
    free_space.erase(fit);
    free_space.insert({space - length, row});
    rows[row].push_back(position);
  }
  // A row's first position is that of its longest sample.
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.front() < b.front(); });
  for (Row& row : rows) {
    std::sort(row.begin(), row.end());
    for (std::uint32_t& entry : row) entry = order[entry];
  }
  return rows;
}

std::vector<Row> pack_next_fit(std::span<const std::int64_t> lengths, std::span<const std::uint32_t> order,
                               std::int64_t capacity) {
  std::vector<Row> rows;
  for (std::size_t start = 0; start < order.size();) {
    std::int64_t used = 0;
    std::size_t end = start;
    while (end < order.size() && used + lengths[order[end]] <= capacity) used += lengths[order[end++]];
    Row row(order.begin() + static_cast<std::ptrdiff_t>(start), order.begin() + static_cast<std::ptrdiff_t>(end));
    // Ascending, then reversed: equal lengths end up in reverse order.
    std::stable_sort(row.begin(), row.end(), [&](std::uint32_t a, std::uint32_t b) { return lengths[a] < lengths[b]; });
    std::reverse(row.begin(), row.end());
    rows.push_back(std::move(row));
    start = end;
  }
  return rows;
}

}  // namespace

std::vector<Row> pack_rows(std::span<const std::int64_t> lengths, std::span<const std::uint32_t> order,
                           std::int64_t capacity, PackMode mode) {
  for (const std::uint32_t sample : order) {
    SHORI_CHECK(sample < lengths.size(), concat("sample ", sample, " has no length"));
    SHORI_CHECK(lengths[sample] >= 1 && lengths[sample] <= capacity,
                concat("sample ", sample, " of ", lengths[sample], " ids in a row of ", capacity));
  }
  if (mode == PackMode::kBestFit) return pack_best_fit(lengths, order, capacity);
  if (mode == PackMode::kNextFit) return pack_next_fit(lengths, order, capacity);
  std::vector<Row> rows;
  rows.reserve(order.size());
  for (const std::uint32_t sample : order) rows.push_back({sample});
  return rows;
}

std::int64_t padded_length(std::int64_t tokens, std::int64_t capacity, bool to_capacity) {
  const std::int64_t wanted = to_capacity ? capacity : tokens;
  return round_up(wanted, kRowMultiple);
}

}  // namespace shori
