#include "shori/ops/swiglu.h"

#include <algorithm>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/layer/swiglu_launch.h"
#include "kernels/lora/lora_input.h"
#include "shori/util/math.h"

namespace shori {

void swiglu(const OpContext& context, ConstTensorView gate_up, TensorView p) {
  check_context(context, "swiglu");
  check_activation("swiglu", "gate_up", gate_up);
  check_matrix("swiglu", "p", p, gate_up.dtype, gate_up.rows, gate_up.cols / 2);
  SHORI_CHECK(gate_up.cols % 2 == 0, "swiglu: gate_up must have two halves");
  log_work(context, {.bytes = bytes_of(gate_up) + bytes_of(p)});
  if (on_device(context)) {
    check_device_rows("swiglu", "gate_up", gate_up);
    check_device_rows("swiglu", "p", p);
    launch_swiglu({.gate_up = gate_up.row<Bf16>(0),
                   .p = p.row<Bf16>(0),
                   .gate_up_stride = gate_up.stride,
                   .p_stride = p.stride,
                   .rows = p.rows,
                   .cols = p.cols},
                  static_cast<cudaStream_t>(context.stream));
    return;
  }

  const WorkspaceFrame frame(*context.workspace);
  const std::int64_t cols = p.cols;
  const WorkerScratch scratch(context, {cols, cols});
  for_each_row_range(p.rows, cols, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    const auto [gate, up] = scratch.of(worker);
    for (std::int64_t row = first; row < last; ++row) {
      load_row(gate_up, row, 0, cols, gate);
      load_row(gate_up, row, cols, cols, up);
      silu_row(gate, cols);
      round_row(p.dtype, gate, cols);
      multiply_row(up, gate, cols);
      store_row(gate, p, row, 0, cols);
    }
  });
}

void swiglu_backward(const OpContext& context, ConstTensorView fused_dp, std::optional<LoraInputGradient> lora,
                     TensorView gate_up) {
  constexpr const char* kOp = "swiglu_backward";
  check_context(context, kOp);
  check_activation(kOp, "gate_up", gate_up);
  SHORI_CHECK(gate_up.cols % 2 == 0, "swiglu_backward: gate_up must have two halves");
  SHORI_CHECK(fused_dp.rows == gate_up.rows && fused_dp.dtype == gate_up.dtype,
              "swiglu_backward: dp does not fit gate_up");
  log_work(context, {.bytes = 2.5 * bytes_of(gate_up)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_rows(kOp, "gate_up", gate_up);
    launch_swiglu_backward(input_gradient_launch(context, kOp, fused_dp, gate_up.cols / 2, lora), gate_up.row<Bf16>(0),
                           gate_up.stride, static_cast<cudaStream_t>(context.stream));
    return;
  }

  const std::int64_t cols = gate_up.cols / 2, tile = InputGradient::kRows;
  const InputGradient dp(context, kOp, fused_dp, cols, lora);
  const WorkerScratch scratch(context, {tile * cols, cols, cols});
  for_each_task(ceil_div(gate_up.rows, tile), [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t first = task * tile, count = std::min(tile, gate_up.rows - first);
    const auto [gradient, gate, up] = scratch.of(worker);
    dp.load(first, count, worker, gradient);
    for (std::int64_t i = 0; i < count; ++i) {
      load_row(gate_up, first + i, 0, cols, gate);
      load_row(gate_up, first + i, cols, cols, up);
      swiglu_gradient_row(gradient + i * cols, gate, up, cols);
      store_row(gate, gate_up, first + i, 0, cols);
      store_row(up, gate_up, first + i, cols, cols);
    }
  });
}

}  // namespace shori
