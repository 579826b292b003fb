// How the CPU versions of attention_backward cut their work. A step is a block of queries of one query head. The steps of a
// key/value head of a sample, its query heads and their blocks in order, add to the same dk and dv: their sums have one order,
// while the larger part of the steps runs at once. So one long sample keeps up to five threads a key/value head busy.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/attention/query_block.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/turns.h"

namespace shori {

struct BackwardStep {
  std::size_t sample;
  std::int64_t kv, head, start, end;  // the sample is rows [start, end)
  QueryBlock block;
  std::int64_t number;  // of the step among those of its key/value head and sample
  bool is_last;
};

class BackwardSteps {
 public:
  BackwardSteps(const AttentionShape& shape, std::span<const std::int32_t> cu_seqlens) : kv_heads_(shape.kv_heads) {
    const std::int64_t group = shape.heads / shape.kv_heads;
    for (std::size_t sample = 0; sample + 1 < cu_seqlens.size(); ++sample) {
      const std::int64_t start = cu_seqlens[sample], end = cu_seqlens[sample + 1];
      const std::int64_t blocks = ceil_div(end - start, kQueries), count = group * blocks;
      // Neighbours have different key/value heads, so that they seldom wait for each other.
      for (std::int64_t number = 0; number < count; ++number) {
        for (std::int64_t kv = 0; kv < kv_heads_; ++kv) {
          const std::int64_t first = start + number % blocks * kQueries;
          steps_.push_back({sample, kv, kv * group + number / blocks, start, end,
                            query_block(start, end, first, shape.window), number, number + 1 == count});
        }
      }
    }
    const std::size_t groups = cu_seqlens.empty() ? 0 : (cu_seqlens.size() - 1) * static_cast<std::size_t>(kv_heads_);
    dk_turns_ = std::vector<Turns>(groups);
    dv_turns_ = std::vector<Turns>(groups);
  }

  // Calls body(step, dk, dv, worker) for every step: it takes its turn `dk` to add to dk, then `dv` to add to dv. After the
  // turn `dv` of the last step of a key/value head all of its sums are complete.
  template <typename Body>
  void run(const Body& body) {
    for_each_task(std::ssize(steps_), [&](std::int64_t task, std::int64_t worker) {
      const BackwardStep& step = steps_[static_cast<std::size_t>(task)];
      const std::size_t group = step.sample * static_cast<std::size_t>(kv_heads_) + static_cast<std::size_t>(step.kv);
      Turn dk(dk_turns_[group], step.number), dv(dv_turns_[group], step.number);
      body(step, dk, dv, worker);
    });
  }

 private:
  std::int64_t kv_heads_;
  std::vector<BackwardStep> steps_;
  std::vector<Turns> dk_turns_, dv_turns_;  // of each sample and key/value head
};

}  // namespace shori
