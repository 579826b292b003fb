#include "shori/ops/grad_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu_parallel.h"
#include "kernels/cpu_rows.h"
#include "kernels/op_checks.h"

namespace shori {

double gradient_norm(const OpContext& context, std::span<const GradientSpan> gradients) {
  check_context(context, "gradient_norm");
  constexpr std::int64_t kPiece = 4096;
  std::vector<GradientSpan> pieces;
  for (const GradientSpan& gradient : gradients) {
    for (std::int64_t first = 0; first < gradient.count; first += kPiece) {
      pieces.push_back({gradient.data + first, std::min(kPiece, gradient.count - first)});
    }
  }
  const WorkspaceFrame frame(*context.workspace);
  float* sums = context.workspace->take_array<float>(pieces.size());
  for_each_row_range(static_cast<std::int64_t>(pieces.size()), kPiece,
                     [&](std::int64_t first, std::int64_t last, std::int64_t) {
                       for (std::int64_t i = first; i < last; ++i) {
                         const GradientSpan& piece = pieces[static_cast<std::size_t>(i)];
                         sums[i] = sum_of_squares_by_halving(piece.data, piece.count);
                       }
                     });
  double total = 0.0;
  for (std::size_t i = 0; i < pieces.size(); ++i) total += static_cast<double>(sums[i]);
  return std::sqrt(total);
}

}  // namespace shori
