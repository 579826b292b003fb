// Softmax, cross-entropy and its gradient; one thread block per row of logits. Maximum and sum are found in one pass over
// the row: a thread rescales its sum whenever its maximum grows.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/loss/head_loss_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 512;
constexpr float kLowest = -3.402823466e38f;  // finite, so that e^(-inf - lowest) is 0 and not NaN

__global__ void __launch_bounds__(kThreads) head_loss_kernel(HeadLossLaunch a) {
  SHORI_SHARED(float, partial, [2][32]);
  const std::int64_t row = blockIdx.x;
  auto* logits = reinterpret_cast<uint4*>(a.logits + row * a.vocabulary);
  const int vectors = static_cast<int>(a.vocabulary / kVector);
  const std::int32_t target = a.targets[row];
  if (target < 0) {  // ignored
    if (threadIdx.x == 0) a.losses[row] = 0;
    for (int vector = static_cast<int>(threadIdx.x); vector < vectors && a.with_gradient; vector += kThreads) {
      logits[vector] = make_uint4(0, 0, 0, 0);
    }
    return;
  }

  const float target_logit = to_float(a.logits[row * a.vocabulary + target]);
  float maximum = kLowest, sum = 0;  // of this thread's values; `sum` is that of e^(value - maximum)
  float value[kVector];
  for (int vector = static_cast<int>(threadIdx.x); vector < vectors; vector += kThreads) {
    unpack_bf16(logits[vector], value);
    float next = maximum;
    for (int i = 0; i < kVector; ++i) next = value[i] > next ? value[i] : next;
    sum *= expf(maximum - next);
    for (int i = 0; i < kVector; ++i) sum += expf(value[i] - next);
    maximum = next;
  }
  const float shift = block_max(maximum, partial[0]);
  const float total = block_sum(sum * expf(maximum - shift), partial[1]);
  if (threadIdx.x == 0) a.losses[row] = (shift - target_logit) + logf(total);
  if (!a.with_gradient) return;

  const float scale = a.weight / total;
  for (int vector = static_cast<int>(threadIdx.x); vector < vectors; vector += kThreads) {
    unpack_bf16(logits[vector], value);
    for (int i = 0; i < kVector; ++i) {
      const float power = expf(value[i] - shift);
      value[i] = vector * kVector + i == target ? (power / total - 1.0f) * a.weight : power * scale;
    }
    logits[vector] = pack_bf16_vector(value);
  }
}

}  // namespace

void launch_head_loss(const HeadLossLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  launch(SHORI_KERNEL(head_loss_kernel), static_cast<unsigned>(arguments.rows), kThreads, 0, stream, arguments);
}

}  // namespace shori
