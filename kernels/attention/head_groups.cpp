// Which query heads one call of the device's backward kernel takes.
//
// The deterministic kernel of FlashAttention-2 starts ceil(multiprocessors / (samples * heads)) thread blocks for each sample
// and head, one block fits a multiprocessor, and each takes every such tile of keys of its sample. With few samples the blocks
// fill the multiprocessors one and a bit times, and most of them wait for the rest. A call on fewer heads has other numbers.
#include <algorithm>
#include <queue>
#include <vector>

#include "kernels/common/op_checks.h"
#include "shori/ops/attention.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr std::int64_t kKeyTile = 128, kQueryTile = 64;
constexpr std::int64_t kFullWaves = 4;  // blocks a multiprocessor from which the last ones matter little
constexpr double kMinGain = 1.05;       // that more and smaller calls must bring
// Each block beside the first of a head has a copy of dq, which is zeroed and summed. That many tokens of one copy take as
// long as a pair of tiles on one multiprocessor; it is about the same on cards whose arithmetic and memory grow together.
constexpr double kTokensPerTilePair = 14000;

struct Pack {
  std::int64_t samples, length, window;  // samples of one length
};

// Work of block `split` of `splits`: the tiles of queries that see its tiles of keys.
std::int64_t work_of(const Pack& pack, std::int64_t split, std::int64_t splits) {
  std::int64_t work = 0;
  for (std::int64_t key = split * kKeyTile; key < pack.length; key += splits * kKeyTile) {
    std::int64_t rows = pack.length - key;
    if (pack.window > 0) rows = std::min(rows, pack.window + kKeyTile - 1);
    work += 1 + ceil_div(rows, kQueryTile);
  }
  return work;
}

// Time of a call on `heads` heads over their number, in pairs of tiles: blocks start in the order of their numbers, each on the
// multiprocessor that is free first.
double time_of_head(const Pack& pack, std::int64_t heads, int sm_count) {
  const std::int64_t splits = ceil_div<std::int64_t>(sm_count, pack.samples * heads);
  std::vector<std::int64_t> work;
  work.reserve(static_cast<std::size_t>(splits));
  for (std::int64_t split = 0; split < splits; ++split) work.push_back(work_of(pack, split, splits));
  std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> free_at;
  for (int i = 0; i < sm_count; ++i) free_at.push(0);
  std::int64_t end = 0;
  for (std::int64_t i = 0; i < pack.samples * heads * splits; ++i) {
    const std::int64_t done = free_at.top() + work[static_cast<std::size_t>(i % splits)];
    free_at.pop();
    free_at.push(done);
    end = std::max(end, done);
  }
  const double copies = static_cast<double>(splits * heads * pack.samples * pack.length) / kTokensPerTilePair;
  return (static_cast<double>(end) + copies) / static_cast<double>(heads);
}

}  // namespace

std::int64_t attention_backward_heads(const AttentionShape& shape, std::int64_t tokens, std::int64_t samples,
                                      int sm_count) {
  if (tokens <= 0 || samples <= 0 || sm_count <= 0 || samples * shape.heads >= kFullWaves * sm_count)
    return shape.heads;
  const Pack pack{samples, ceil_div(tokens, samples), shape.window};
  const std::int64_t group = shape.heads / shape.kv_heads;
  std::int64_t best = shape.heads;
  double least = time_of_head(pack, shape.heads, sm_count) / kMinGain;
  for (std::int64_t heads = shape.heads - 1; heads > 0; --heads) {
    // Two calls share a key/value head at most, so that its gradient is rounded once more and no oftener.
    if (shape.heads % heads != 0 || (heads % group != 0 && heads * 2 != group)) continue;
    const double time = time_of_head(pack, heads, sm_count);
    if (time >= least) continue;
    best = heads;
    least = time;
  }
  return best;
}

}  // namespace shori
