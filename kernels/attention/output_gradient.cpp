#include "kernels/attention/output_gradient.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

namespace shori {

ConstMatrix load_output_gradient(const OpContext& context, const AttentionShape& shape, ConstTensorView out,
                                 const InputGradient& source, DType rounding, float* delta) {
  const std::int64_t cols = shape.heads * shape.head_dim, tokens = out.rows, tile = InputGradient::kRows;
  float* gradient = context.workspace->take_array<float>(static_cast<std::size_t>(tokens * cols));
  const WorkerScratch scratch(context, {cols});
  for_each_task(ceil_div(tokens, tile), [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t first = task * tile, count = std::min(tile, tokens - first);
    source.load(first, count, worker, gradient + first * cols);
    const auto [values] = scratch.of(worker);
    for (std::int64_t row = first; row < first + count; ++row) {
      round_row(rounding, gradient + row * cols, cols);
      load_row(out, row, 0, cols, values);
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const std::int64_t col = head * shape.head_dim;
        delta[head * tokens + row] = dot_rows(gradient + row * cols + col, values + col, shape.head_dim);
      }
    }
  });
  return dense(gradient, tokens, cols);
}

}  // namespace shori
