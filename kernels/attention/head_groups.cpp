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
constexpr double kMinGain = 1.15;       // that more and smaller calls must bring

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

// Share of the multiprocessors that calls on `heads` heads keep busy: blocks start in the order of their numbers, each on
// the multiprocessor that is free first.
double busy_share(const Pack& pack, std::int64_t heads, int sm_count) {
  const std::int64_t splits = ceil_div<std::int64_t>(sm_count, pack.samples * heads);
  std::vector<std::int64_t> work;
  for (std::int64_t split = 0; split < splits; ++split) work.push_back(work_of(pack, split, splits));
  std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> free_at;
  for (int i = 0; i < sm_count; ++i) free_at.push(0);
  std::int64_t total = 0, end = 0;
  for (std::int64_t i = 0; i < pack.samples * heads * splits; ++i) {
    const std::int64_t done = free_at.top() + work[static_cast<std::size_t>(i % splits)];
    free_at.pop();
    free_at.push(done);
    total += work[static_cast<std::size_t>(i % splits)];
    end = std::max(end, done);
  }
  return static_cast<double>(total) / static_cast<double>(end * sm_count);
}

}  // namespace

std::int64_t attention_backward_heads(const AttentionShape& shape, std::int64_t tokens, std::int64_t samples,
                                      int sm_count) {
  if (tokens <= 0 || samples <= 0 || sm_count <= 0 || samples * shape.heads >= kFullWaves * sm_count)
    return shape.heads;
  const Pack pack{samples, ceil_div(tokens, samples), shape.window};
  const std::int64_t group = shape.heads / shape.kv_heads;
  const double whole = busy_share(pack, shape.heads, sm_count);
  std::int64_t best = shape.heads;
  double most = whole * kMinGain;
  for (std::int64_t heads = shape.heads - 1; heads > 0; --heads) {
    // Two calls share a key/value head at most, so that its gradient is rounded once more and no oftener.
    if (shape.heads % heads != 0 || (heads % group != 0 && heads * 2 != group)) continue;
    const double share = busy_share(pack, heads, sm_count);
    if (share <= most) continue;
    best = heads;
    most = share;
  }
  return best;
}

}  // namespace shori
