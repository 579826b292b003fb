#include "src/train/screen/live_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>
#include <string_view>

#include "shori/util/byte_size.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kBarCells = 12, kSparkCells = 12;

// A part of the line. Ranks are unique; parts of low rank get their columns first.
struct Part {
  int rank;
  std::string text;
};

std::string number_text(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string repeated(std::string_view cell, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += cell;
  return text;
}

std::string bar(double share, bool unicode) {
  const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kBarCells + 1e-9);
  const std::string cells = unicode ? repeated("\xE2\x96\x88", full) + repeated("\xE2\x96\x91", kBarCells - full)
                                    : repeated("#", full) + repeated(".", kBarCells - full);
  return concat(unicode ? cells : concat("[", cells, "]"), number_text(" %.0f%%", std::floor(share * 100 + 1e-9)));
}

// The last losses as blocks of eight heights, each the mean of its share of the steps.
std::string spark_line(const std::vector<double>& losses) {
  const std::size_t cells = std::min(losses.size(), kSparkCells);
  std::vector<double> means;
  for (std::size_t i = 0; i < cells; ++i) {
    const auto begin = losses.begin() + static_cast<std::ptrdiff_t>(i * losses.size() / cells);
    const auto end = losses.begin() + static_cast<std::ptrdiff_t>((i + 1) * losses.size() / cells);
    means.push_back(std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin));
  }
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  std::string text;
  for (const double mean : means) {
    const double height = *high > *low ? (mean - *low) / (*high - *low) : 0.5;
    text += concat("\xE2\x96", static_cast<char>(0x81 + std::min(7, static_cast<int>(height * 8))));
  }
  return text;
}

std::vector<Part> parts_of(const LiveState& state, bool unicode) {
  const double done = static_cast<double>(state.step) + state.moved;
  std::vector<Part> parts{{0, concat(state.stage, " step ", state.step, "/", state.total)},
                          {3, bar(state.total > 0 ? done / static_cast<double>(state.total) : 1, unicode)}};
  if (state.seconds_left) parts.push_back({1, "left " + format_duration(*state.seconds_left)});
  if (state.recipe_seconds_left)
    parts.push_back({4, concat("(recipe ", format_duration(*state.recipe_seconds_left), ")")});
  if (state.losses.empty()) return parts;
  parts.push_back({2, number_text("loss %.4f", state.losses.back())});
  if (state.losses.size() > 1) parts.push_back({6, number_text("mean %.4f", state.average_loss)});
  if (unicode && state.losses.size() > 2) parts.push_back({7, spark_line(state.losses)});
  parts.push_back({8, number_text("grad %.3g", state.grad_norm)});
  parts.push_back({9, number_text("lr %.3g", state.learning_rate)});
  parts.push_back({5, number_text("%.0f tok/s", state.tokens_per_second)});
  if (state.share_of_peak) parts.push_back({12, number_text("%.0f%% of peak", *state.share_of_peak * 100)});
  parts.push_back({10, format_bytes(state.memory_bytes)});
  if (state.saved) parts.push_back({11, "saved"});
  return parts;
}

}  // namespace

std::string live_text(const LiveState& state, std::size_t columns, bool unicode) {
  const std::vector<Part> parts = parts_of(state, unicode);
  std::vector<const Part*> by_rank;
  for (const Part& part : parts) by_rank.push_back(&part);
  std::ranges::sort(by_rank, {}, &Part::rank);
  std::set<int> shown;
  std::size_t width = 0;
  for (const Part* part : by_rank) {
    const std::size_t wider = width + count_code_points(part->text) + (shown.empty() ? 0 : 2);
    if (!shown.empty() && wider > columns) continue;
    shown.insert(part->rank);
    width = wider;
  }
  std::string text;
  for (const Part& part : parts)
    if (shown.contains(part.rank)) text += concat(text.empty() ? "" : "  ", part.text);
  return text;
}

}  // namespace shori
