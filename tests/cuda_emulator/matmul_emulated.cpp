// Matrix products of the emulated device: those of the CPU, on the same plain memory.
#include "kernels/common/device_matmul.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "shori/util/math.h"
#include "tests/cuda_emulator/cuda_emulator.h"

namespace shori {

void device_matmul(const OpContext& caller, MatmulB form, ConstTensorView a, ConstTensorView b, TensorView c) {
  constexpr std::int64_t kRows = 128;
  emulator::before_launch(caller.stream);
  emulator::advance_clock("device_matmul");
  static Workspace workspace;
  const OpContext context{.device = Device::kCpu, .workspace = &workspace};
  const WorkspaceFrame frame(workspace);
  const ConstMatrix left = widened(context, a), stored = widened(context, b);
  const ConstMatrix right = form == MatmulB::kTransposed ? stored.transposed() : stored;
  const WorkerScratch scratch(context, {kRows * c.cols});
  for_each_task(ceil_div(c.rows, kRows), [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t first = task * kRows, count = std::min(kRows, c.rows - first);
    const auto [sums] = scratch.of(worker);
    matmul(left.slice_rows(first, count), right, sums, c.cols);
    for (std::int64_t i = 0; i < count; ++i) store_row(sums + i * c.cols, c, first + i, 0, c.cols);
  });
  for (std::int64_t row = 0; row < c.rows; ++row) {
    emulator::define_bytes(c.row<Bf16>(row), static_cast<std::size_t>(c.cols) * 2);
  }
}

}  // namespace shori
