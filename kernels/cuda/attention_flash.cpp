// Attention on a GPU: libtorch's FlashAttention-2 in its packed form, one call per pack, backward one for each range of heads.
//
// Its ops are private to libtorch and may change between releases. So this is the only file that names them, the release is
// pinned, and check_device_attention() compares them with the CPU version before training.
#include <ATen/Context.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "kernels/attention/device_attention.h"
#include "kernels/common/cuda_check.h"
#include "shori/util/error.h"

namespace shori {

namespace {

// Inside this scope libtorch queues its work on our stream, records nothing for autograd and sums in a fixed order. It does
// not fill new memory with NaN, as its deterministic mode otherwise would.
class FlashScope {
 public:
  explicit FlashScope(const OpContext& context)
      : stream_(context.stream == nullptr ? c10::cuda::getDefaultCUDAStream()
                                          : c10::cuda::getStreamFromExternal(static_cast<cudaStream_t>(context.stream),
                                                                             c10::cuda::current_device())) {
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }

 private:
  c10::InferenceMode inference_;
  c10::cuda::CUDAStreamGuard stream_;
};

at::TensorOptions on_gpu(at::ScalarType type) {
  return at::TensorOptions(type).device(at::kCUDA, c10::cuda::current_device());
}

// Columns [first, first + heads * dim) of a matrix as [T, heads, dim], without a copy.
at::Tensor heads_of(ConstTensorView matrix, std::int64_t first, std::int64_t heads, std::int64_t dim) {
  auto* data = const_cast<Bf16*>(matrix.row<Bf16>(0)) + first;
  return at::from_blob(data, {matrix.rows, heads, dim}, {matrix.stride, dim, 1}, on_gpu(at::kBFloat16));
}

// q, k and v of a pack, and the arguments that both directions take.
struct Packed {
  at::Tensor q, k, v, cu_seqlens;
  std::int64_t longest = 0;
  double scale;
  std::optional<std::int64_t> window_left;

  Packed(const AttentionShape& shape, const HeadRange& heads, ConstTensorView qkv, const Int32Array& cu)
      : q(heads_of(qkv, heads.first * shape.head_dim, heads.count, shape.head_dim)),
        k(heads_of(qkv, (shape.heads + heads.first_kv(shape)) * shape.head_dim, heads.count_kv(shape), shape.head_dim)),
        v(heads_of(qkv, (shape.heads + shape.kv_heads + heads.first_kv(shape)) * shape.head_dim, heads.count_kv(shape),
                   shape.head_dim)),
        cu_seqlens(at::from_blob(const_cast<std::int32_t*>(cu.device), {static_cast<std::int64_t>(cu.size())},
                                 on_gpu(at::kInt))),
        scale(1.0 / std::sqrt(static_cast<double>(shape.head_dim))) {
    for (std::size_t i = 1; i < cu.size(); ++i) {
      longest = std::max<std::int64_t>(longest, cu.host[i] - cu.host[i - 1]);
    }
    // A token sees itself and the `window - 1` tokens before it; the causal mask hides the tokens after it.
    if (shape.window > 0) window_left = shape.window - 1;
  }
};

// Runs libtorch's ops. Failures of memory or of the device become errors of the program; any other failure is a bug.
template <class Ops>
void run(const Ops& ops) {
  try {
    ops();
  } catch (const c10::OutOfMemoryError& error) {
    throw Error(Diagnostic("E0704", "the GPU has no memory for the temporaries of the attention")
                    .note(error.what_without_backtrace()));
  } catch (const c10::AcceleratorError& error) {
    throw_cuda_error(error.get_error_code(), "libtorch's attention", __FILE__, __LINE__);
  }
}

void copy_matrix(const at::Tensor& from, std::int64_t cols, TensorView to, std::int64_t first, void* stream) {
  SHORI_CHECK(from.is_contiguous() && from.numel() == to.rows * cols, "attention: libtorch returned another shape");
  const std::size_t size = size_of(to.dtype), bytes = static_cast<std::size_t>(cols) * size;
  copy_rows_on_device(static_cast<std::byte*>(to.data) + static_cast<std::size_t>(first) * size,
                      static_cast<std::size_t>(to.stride) * size, from.const_data_ptr(), bytes, bytes,
                      static_cast<std::size_t>(to.rows), stream);
}

}  // namespace

void device_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                      const Int32Array& cu_seqlens, TensorView out, TensorView lse) {
  run([&] {
    const FlashScope scope(context);
    const Packed pack(shape, {0, shape.heads}, qkv, cu_seqlens);
    const auto [output, log_sum_exp, rng_state, unused, mask] = at::_flash_attention_forward(
        pack.q, pack.k, pack.v, pack.cu_seqlens, pack.cu_seqlens, pack.longest, pack.longest, /*dropout_p=*/0.0,
        /*is_causal=*/true, /*return_debug_mask=*/false, pack.scale, pack.window_left, std::nullopt);
    finish_call(context.stream, "_flash_attention_forward of libtorch");
    copy_matrix(output, shape.heads * shape.head_dim, out, 0, context.stream);
    copy_matrix(log_sum_exp, lse.cols, lse, 0, context.stream);
  });
}

void device_attention_backward(const OpContext& context, const AttentionShape& shape, const HeadRange& heads,
                               ConstTensorView qkv, const Int32Array& cu_seqlens, ConstTensorView out,
                               ConstTensorView lse, ConstTensorView dout, TensorView dqkv) {
  SHORI_CHECK(lse.stride == lse.cols, "attention: the library reads log-sum-exp without gaps between rows");
  run([&] {
    const FlashScope scope(context);
    const Packed pack(shape, heads, qkv, cu_seqlens);
    const at::Tensor log_sum_exp = at::from_blob(const_cast<float*>(lse.row<float>(heads.first)),
                                                 {heads.count, lse.cols}, {lse.stride, 1}, on_gpu(at::kFloat));
    // The ops take the state of a dropout, which is not used here.
    const at::Tensor no_state = at::zeros({2}, on_gpu(at::kLong));
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        heads_of(dout, heads.first * shape.head_dim, heads.count, shape.head_dim), pack.q, pack.k, pack.v,
        heads_of(out, heads.first * shape.head_dim, heads.count, shape.head_dim), log_sum_exp, pack.cu_seqlens,
        pack.cu_seqlens, pack.longest, pack.longest, /*dropout_p=*/0.0, /*is_causal=*/true, no_state, no_state,
        pack.scale, pack.window_left, std::nullopt);
    finish_call(context.stream, "_flash_attention_backward of libtorch");
    const std::int64_t dim = shape.head_dim, kv_cols = heads.count_kv(shape) * dim;
    copy_matrix(dq, heads.count * dim, dqkv, heads.first * dim, context.stream);
    const auto write = [&](const at::Tensor& from, std::int64_t column) {
      if (heads.adds) {
        heads_of(dqkv, column, heads.count_kv(shape), dim).add_(from);  // fp32 inside, rounded once
        finish_call(context.stream, "add_ of libtorch");
      } else {
        copy_matrix(from, kv_cols, dqkv, column, context.stream);
      }
    };
    write(dk, (shape.heads + heads.first_kv(shape)) * dim);
    write(dv, (shape.heads + shape.kv_heads + heads.first_kv(shape)) * dim);
  });
}

}  // namespace shori
