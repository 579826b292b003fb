// Softmax, cross-entropy and its gradient of one row of logits a block.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/loss/head_loss_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 512;
constexpr int kPiece = 8;
constexpr float kLowest = -3.402823466e38f;  // finite, so that e^(-inf - lowest) is 0 and not NaN

__global__ void __launch_bounds__(kThreads) head_loss_kernel(HeadLossLaunch a) {
  SHORI_SHARED(float, partial, [2][32]);
  const std::int64_t row = blockIdx.x;
  auto* logits = reinterpret_cast<uint4*>(a.logits + row * a.vocabulary);
  const int pieces = static_cast<int>(a.vocabulary / kPiece);
  const std::int32_t target = a.targets[row];
  if (target < 0) {  // ignored
    if (threadIdx.x == 0) a.losses[row] = 0;
    for (int piece = static_cast<int>(threadIdx.x); piece < pieces && a.with_gradient; piece += kThreads) {
      logits[piece] = make_uint4(0, 0, 0, 0);
    }
    return;
  }

  const float target_logit = to_float(a.logits[row * a.vocabulary + target]);
  float most = kLowest, sum = 0;  // of this thread's values: the largest, and the sum of e^(value - most)
  float value[kPiece];
  for (int piece = static_cast<int>(threadIdx.x); piece < pieces; piece += kThreads) {
    unpack_bf16(logits[piece], value);
    float next = most;
    for (int i = 0; i < kPiece; ++i) next = value[i] > next ? value[i] : next;
    sum *= expf(most - next);
    for (int i = 0; i < kPiece; ++i) sum += expf(value[i] - next);
    most = next;
  }
  const float shift = block_max(most, partial[0]);
  const float total = block_sum(sum * expf(most - shift), partial[1]);
  if (threadIdx.x == 0) a.losses[row] = (shift - target_logit) + logf(total);
  if (!a.with_gradient) return;

  const float scale = a.weight / total;
  for (int piece = static_cast<int>(threadIdx.x); piece < pieces; piece += kThreads) {
    unpack_bf16(logits[piece], value);
    for (int i = 0; i < kPiece; ++i) {
      const float power = expf(value[i] - shift);
      value[i] = piece * kPiece + i == target ? (power / total - 1.0f) * a.weight : power * scale;
    }
    logits[piece] = pack_bf16_vector(value);
  }
}

}  // namespace

void launch_head_loss(const HeadLossLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  launch(head_loss_kernel, static_cast<unsigned>(arguments.rows), kThreads, 0, stream, arguments);
}

}  // namespace shori
