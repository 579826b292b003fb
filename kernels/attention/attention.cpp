// Attention. On a device it is FlashAttention-2 of libtorch (device_attention.h), which this file prepares operands for.
// The CPU version cuts each sample into blocks of 128 queries. A block's scores against all keys it may see are one matrix
// product, so memory is bounded by a block and not by the square of the pack. Backward recomputes the scores of a block
// from the saved log-sum-exp.
#include "shori/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/backward_steps.h"
#include "kernels/attention/device_attention.h"
#include "kernels/attention/output_gradient.h"
#include "kernels/attention/query_block.h"
#include "kernels/attention/tile_attention.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/lora/input_gradient_launch.h"
#include "kernels/lora/lora_input.h"
#include "shori/ops/device_limits.h"
#include "shori/util/device.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr const char* kForward = "attention";
constexpr const char* kBackward = "attention_backward";

void check_attention(const char* op, const AttentionShape& shape, ConstTensorView qkv,
                     std::span<const std::int32_t> cu_seqlens) {
  const std::string subject = std::string(op) + ": ";
  SHORI_CHECK(shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0 && shape.heads % shape.kv_heads == 0 &&
                  shape.window >= 0,
              subject + "heads must be a multiple of key/value heads");
  check_activation(op, "qkv", qkv);
  check_matrix(op, "qkv", qkv, qkv.dtype, qkv.rows, (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  SHORI_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == qkv.rows,
              subject + "cu_seqlens must run from 0 to the number of tokens");
  SHORI_CHECK(std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()), subject + "cu_seqlens must not fall");
}

void check_device_attention_operands(const char* op, const AttentionShape& shape, ConstTensorView qkv,
                                     const Int32Array& cu_seqlens, ConstTensorView result) {
  check_device_rows(op, "qkv", qkv);
  check_device_rows(op, "the result", result);
  SHORI_CHECK(shape.head_dim % 8 == 0 && shape.head_dim <= kMaxDeviceHeadDim,
              std::string(op) + ": a device takes head sizes that are multiples of 8, up to 256");
  check_device_integers(op, "cu_seqlens", cu_seqlens);
}

// What the backward pass reads and writes on the CPU; all fp32.
struct BackwardOperands {
  ConstMatrix qkv;      // [T, (H + 2 Hkv) D]
  ConstMatrix dout;     // [T, H D]
  ConstTensorView lse;  // [H, T]
  const float* delta;   // [H, T]: dout . out of each head
  float* dqkv;          // [T, (H + 2 Hkv) D]; the k and v columns are sums
  std::int64_t dqkv_stride;
};

// Writes dq of a step, and adds its parts of dk and dv. `scores` and `dscores` are scratch of the block's size.
void backward_step(const AttentionShape& shape, const BackwardStep& step, const BackwardOperands& operands, Turn& dk,
                   Turn& dv, float* scores, float* dscores) {
  const QueryBlock& block = step.block;
  const Head head = head_columns(shape, step.head);
  const float* lse = operands.lse.row<float>(step.head) + block.first;
  const float* delta = operands.delta + step.head * operands.qkv.rows + block.first;
  const std::int64_t dim = shape.head_dim, count = block.count, keys = block.key_count;
  const ConstMatrix q = operands.qkv.slice(block.first, count, head.q, dim),
                    k = operands.qkv.slice(block.keys, keys, head.k, dim);
  const ConstMatrix v = operands.qkv.slice(block.keys, keys, head.v, dim);
  const ConstMatrix dout = operands.dout.slice(block.first, count, head.q, dim);
  matmul(q, k.transposed(), scores, keys);
  matmul(dout, v.transposed(), dscores, keys);
  for (std::int64_t i = 0; i < count; ++i) {
    float* p = scores + i * keys;
    float* ds = dscores + i * keys;
    const VisibleKeys seen = visible(block, i, shape.window);
    attention_gradient_row(scale_of(shape), lse[i], delta[i], p + seen.low, ds + seen.low, seen.high - seen.low);
    for (float* row : {p, ds}) {
      std::fill(row, row + seen.low, 0.0f);
      std::fill(row + seen.high, row + keys, 0.0f);
    }
  }
  const ConstMatrix p = dense(scores, count, keys), ds = dense(dscores, count, keys);
  const auto target = [&](std::int64_t row, std::int64_t col) {
    return operands.dqkv + row * operands.dqkv_stride + col;
  };
  const auto add = [&](const ConstMatrix& left, const ConstMatrix& right, std::int64_t col) {
    if (step.number == 0) {
      for (std::int64_t row = step.start; row < step.end; ++row) std::fill_n(target(row, col), dim, 0.0f);
    }
    matmul(left.transposed(), right, target(block.keys, col), operands.dqkv_stride, Sum::kAdd);
  };
  matmul(ds, k, target(block.first, head.q), operands.dqkv_stride);
  dk.take([&] { add(ds, q, head.k); });
  dv.take([&] { add(p, dout, head.v); });
}

double forward_flop(const AttentionShape& shape, std::span<const std::int32_t> cu_seqlens) {
  double pairs = 0;
  for (std::size_t i = 1; i < cu_seqlens.size(); ++i) {
    const auto length = static_cast<double>(cu_seqlens[i] - cu_seqlens[i - 1]);
    const double seen = shape.window > 0 ? std::min(length, static_cast<double>(shape.window)) : length;
    pairs += seen * seen / 2 + (length - seen) * seen;
  }
  return 4 * pairs * static_cast<double>(shape.heads * shape.head_dim);
}

void attention_on_cpu(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                      std::span<const std::int32_t> cu_seqlens, TensorView out, TensorView lse) {
  const ConstMatrix input = widened(context, qkv);
  const std::vector<QueryBlock> blocks = query_blocks(cu_seqlens, shape.window);
  const std::int64_t dim = shape.head_dim;
  const WorkerScratch scratch(context, {kQueries * max_keys(blocks), kQueries * dim, kQueries});
  for_each_task(static_cast<std::int64_t>(blocks.size()) * shape.heads, [&](std::int64_t task, std::int64_t worker) {
    const QueryBlock& block = blocks[static_cast<std::size_t>(task / shape.heads)];
    const std::int64_t index = task % shape.heads;
    const Head head = head_columns(shape, index);
    const auto [scores, result, inverse_sum] = scratch.of(worker);
    const ConstMatrix keys = input.slice(block.keys, block.key_count, head.k, dim);
    matmul(input.slice(block.first, block.count, head.q, dim), keys.transposed(), scores, block.key_count);
    softmax_block(shape, block, scores, inverse_sum, lse.row<float>(index));
    matmul(dense(scores, block.count, block.key_count), input.slice(block.keys, block.key_count, head.v, dim), result,
           dim);
    store_block(block, inverse_sum, result, out, head.q, dim);
  });
}

void attention_backward_on_cpu(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                               std::span<const std::int32_t> cu_seqlens, ConstTensorView out, ConstTensorView lse,
                               ConstTensorView fused_dout, const std::optional<LoraInputGradient>& lora,
                               TensorView dqkv) {
  Workspace& workspace = *context.workspace;
  const std::int64_t tokens = qkv.rows;
  const ConstMatrix input = widened(context, qkv);
  const InputGradient source(context, kBackward, fused_dout, shape.heads * shape.head_dim, lora);
  float* delta = workspace.take_array<float>(static_cast<std::size_t>(shape.heads * tokens));
  const ConstMatrix dout = load_output_gradient(context, shape, out, source, DType::kF32, delta);
  const bool direct = dqkv.dtype == DType::kF32;  // then dqkv itself holds the sums
  float* sums = direct ? dqkv.row<float>(0) : workspace.take_array<float>(static_cast<std::size_t>(tokens * dqkv.cols));
  const std::int64_t stride = direct ? dqkv.stride : dqkv.cols;
  const std::int64_t score_floats = kQueries * max_keys(query_blocks(cu_seqlens, shape.window));
  const WorkerScratch scratch(context, {score_floats, score_floats});

  const BackwardOperands operands{input, dout, lse, delta, sums, stride};
  const std::int64_t group = shape.heads / shape.kv_heads;
  BackwardSteps(shape, cu_seqlens).run([&](const BackwardStep& step, Turn& dk, Turn& dv, std::int64_t worker) {
    const auto [scores, dscores] = scratch.of(worker);
    backward_step(shape, step, operands, dk, dv, scores, dscores);
    if (direct || !step.is_last) return;
    const Head columns = head_columns(shape, step.kv * group);
    for (std::int64_t row = step.start; row < step.end; ++row) {
      store_row(sums + row * stride + columns.q, dqkv, row, columns.q, group * shape.head_dim);
      store_row(sums + row * stride + columns.k, dqkv, row, columns.k, shape.head_dim);
      store_row(sums + row * stride + columns.v, dqkv, row, columns.v, shape.head_dim);
    }
  });
}

// The library reads the completed gradient of `out`, and both matrices without gaps between rows.
void attention_backward_on_device(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                                  const Int32Array& cu_seqlens, ConstTensorView out, ConstTensorView lse,
                                  ConstTensorView fused_dout, const std::optional<LoraInputGradient>& lora,
                                  TensorView dqkv) {
  const std::int64_t tokens = qkv.rows, cols = shape.heads * shape.head_dim;
  auto* dout = context.workspace->take_array<Bf16>(static_cast<std::size_t>(tokens * cols));
  launch_input_gradient(input_gradient_launch(context, kBackward, fused_dout, cols, lora), dout,
                        static_cast<cudaStream_t>(context.stream));
  auto* whole_out = context.workspace->take_array<Bf16>(static_cast<std::size_t>(tokens * cols));
  const std::size_t row_bytes = static_cast<std::size_t>(cols) * sizeof(Bf16);
  copy_rows_on_device(whole_out, row_bytes, out.data, static_cast<std::size_t>(out.stride) * sizeof(Bf16), row_bytes,
                      static_cast<std::size_t>(tokens), context.stream);
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t count =
      attention_backward_heads(shape, tokens, static_cast<std::int64_t>(cu_seqlens.size()) - 1, open_device().sm_count);
  for (std::int64_t first = 0; first < shape.heads; first += count) {
    device_attention_backward(context, shape, {first, count, first % group != 0}, qkv, cu_seqlens,
                              {whole_out, DType::kBf16, tokens, cols, cols}, lse,
                              {dout, DType::kBf16, tokens, cols, cols}, dqkv);
  }
}

}  // namespace

void attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv, const Int32Array& cu_seqlens,
               TensorView out, TensorView lse) {
  check_context(context, kForward);
  check_attention(kForward, shape, qkv, cu_seqlens.host);
  check_matrix(kForward, "out", out, qkv.dtype, qkv.rows, shape.heads * shape.head_dim);
  check_matrix(kForward, "lse", lse, DType::kF32, shape.heads, qkv.rows);
  log_work(context, {.flop = forward_flop(shape, cu_seqlens.host)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_attention_operands(kForward, shape, qkv, cu_seqlens, out);
    if (qkv.rows > 0) device_attention(context, shape, qkv, cu_seqlens, out, lse);
    return;
  }
  if (qkv.dtype == DType::kBf16 && use_tile_products()) {
    tile_attention(context, shape, qkv, cu_seqlens.host, out, lse);
  } else {
    attention_on_cpu(context, shape, qkv, cu_seqlens.host, out, lse);
  }
}

void attention_backward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                        const Int32Array& cu_seqlens, ConstTensorView out, ConstTensorView lse,
                        ConstTensorView fused_dout, std::optional<LoraInputGradient> lora, TensorView dqkv) {
  check_context(context, kBackward);
  check_attention(kBackward, shape, qkv, cu_seqlens.host);
  check_matrix(kBackward, "out", out, qkv.dtype, qkv.rows, shape.heads * shape.head_dim);
  check_matrix(kBackward, "lse", lse, DType::kF32, shape.heads, qkv.rows);
  check_matrix(kBackward, "dqkv", dqkv, qkv.dtype, qkv.rows, qkv.cols);
  SHORI_CHECK(fused_dout.rows == qkv.rows && fused_dout.dtype == qkv.dtype,
              "attention_backward: dout does not fit qkv");
  log_work(context, {.flop = 2.5 * forward_flop(shape, cu_seqlens.host)});
  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    check_device_attention_operands(kBackward, shape, qkv, cu_seqlens, dqkv);
    if (qkv.rows == 0) return;
    attention_backward_on_device(context, shape, qkv, cu_seqlens, out, lse, fused_dout, lora, dqkv);
    return;
  }
  if (qkv.dtype == DType::kBf16 && use_tile_products()) {
    tile_attention_backward(context, shape, qkv, cu_seqlens.host, out, lse, fused_dout, lora, dqkv);
  } else {
    attention_backward_on_cpu(context, shape, qkv, cu_seqlens.host, out, lse, fused_dout, lora, dqkv);
  }
}

std::size_t attention_backward_workspace_bytes(std::int64_t tokens, std::int64_t columns) {
  return 2 * device_bytes(tokens * columns * static_cast<std::int64_t>(sizeof(Bf16)));
}

}  // namespace shori
