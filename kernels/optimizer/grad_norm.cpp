#include "shori/ops/grad_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/optimizer/grad_norm_launch.h"
#include "shori/util/math.h"

namespace shori {

namespace {

double gradient_norm_on_device(const OpContext& context, std::span<const GradientSpan> gradients) {
  std::vector<GradNormEntry> entries;
  std::int64_t chunks = 0;
  for (const GradientSpan& gradient : gradients) {
    SHORI_CHECK(reinterpret_cast<std::uintptr_t>(gradient.data) % 16 == 0, "grad_norm: unaligned memory on a device");
    if (gradient.count == 0) continue;
    entries.push_back({gradient.data, gradient.count, chunks});
    chunks += ceil_div(gradient.count, kNormChunk);
  }
  const WorkspaceFrame frame(*context.workspace);
  const auto stream = static_cast<cudaStream_t>(context.stream);
  auto* table = context.workspace->take_array<GradNormEntry>(entries.size());
  float* sums = context.workspace->take_array<float>(static_cast<std::size_t>(chunks));
  double* total = context.workspace->take_array<double>(1);
  copy_to_device(table, entries.data(), entries.size() * sizeof(GradNormEntry), stream);
  launch_square_sums(table, static_cast<int>(entries.size()), chunks, sums, stream);
  launch_ordered_sum(sums, chunks, total, stream);
  double result = 0.0;
  copy_to_host(&result, total, sizeof(result), stream);
  synchronize_stream(stream);
  return std::sqrt(result);
}

double gradient_norm_on_cpu(const OpContext& context, std::span<const GradientSpan> gradients) {
  std::vector<GradientSpan> chunks;
  for (const GradientSpan& gradient : gradients) {
    for (std::int64_t first = 0; first < gradient.count; first += kNormChunk) {
      chunks.push_back({gradient.data + first, std::min(kNormChunk, gradient.count - first)});
    }
  }
  const WorkspaceFrame frame(*context.workspace);
  float* sums = context.workspace->take_array<float>(chunks.size());
  for_each_row_range(static_cast<std::int64_t>(chunks.size()), kNormChunk,
                     [&](std::int64_t first, std::int64_t last, std::int64_t) {
                       for (std::int64_t i = first; i < last; ++i) {
                         const GradientSpan& chunk = chunks[static_cast<std::size_t>(i)];
                         sums[i] = sum_of_squares_by_halving(chunk.data, chunk.count);
                       }
                     });
  double total = 0.0;
  for (std::size_t i = 0; i < chunks.size(); ++i) total += static_cast<double>(sums[i]);
  return std::sqrt(total);
}

}  // namespace

double gradient_norm(const OpContext& context, std::span<const GradientSpan> gradients) {
  check_context(context, "gradient_norm");
  double bytes = 0;
  for (const GradientSpan& gradient : gradients) bytes += static_cast<double>(gradient.count) * sizeof(float);
  log_work(context, {.bytes = bytes});
  if (on_device(context)) return gradient_norm_on_device(context, gradients);
  return gradient_norm_on_cpu(context, gradients);
}

}  // namespace shori
