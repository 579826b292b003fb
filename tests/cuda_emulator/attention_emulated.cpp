// Attention of the emulated device, with the roundings of FlashAttention-2, which a GPU runs there: probabilities and the
// gradient of the scores are bf16 when they are multiplied, and dk and dv of each query head are bf16 before those of a
// group are added. So a bound that holds here has to hold on a GPU too. The loops share no code with the CPU version.
//
// With SHORI_EMULATED_ATTENTIONS=n in the environment, the first n calls find memory for their temporaries and the next one
// does not. With n,m the m calls after those n do not, and all later ones do. SHORI_EMULATED_ATTENTION_FAULT=window makes a
// device that ignores the window, =gradient one whose dq is too large.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/attention/device_attention.h"
#include "shori/util/error.h"
#include "tests/cuda_emulator/cuda_emulator.h"

namespace shori {

namespace {

void take_memory() {
  static char* rest = nullptr;
  static const char* const text = std::getenv("SHORI_EMULATED_ATTENTIONS");
  static const long good = text == nullptr ? 0 : std::strtol(text, &rest, 10);
  static const long bad = text != nullptr && *rest == ',' ? std::strtol(rest + 1, nullptr, 10) : -1;
  static long calls = 0;
  if (text == nullptr || ++calls <= good || (bad >= 0 && calls > good + bad)) return;
  throw Error(Diagnostic("E0704", "the emulated device has no memory for the temporaries of the attention"));
}

bool has_fault(std::string_view name) {
  static const char* const text = std::getenv("SHORI_EMULATED_ATTENTION_FAULT");
  return text != nullptr && name == text;
}

float rounded(float value) { return to_float(to_bf16(value)); }

// One query head of one sample, its operands as fp32 rows [length, dim].
class HeadOfSample {
 public:
  HeadOfSample(const AttentionShape& shape, ConstTensorView qkv, std::int64_t head, std::int64_t start,
               std::int64_t end)
      : start_(start), length_(end - start), dim_(shape.head_dim), window_(has_fault("window") ? 0 : shape.window) {
    kv_ = head / (shape.heads / shape.kv_heads);
    q_ = load(qkv, head * dim_);
    k_ = load(qkv, (shape.heads + kv_) * dim_);
    v_ = load(qkv, (shape.heads + shape.kv_heads + kv_) * dim_);
    scale_ = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim_)));
  }

  void forward(TensorView out, std::int64_t column, float* lse) const {
    std::vector<float> scores(static_cast<std::size_t>(length_)), result(static_cast<std::size_t>(dim_));
    for (std::int64_t i = 0; i < length_; ++i) {
      const std::int64_t low = first_key(i);
      float most = -INFINITY, sum = 0;
      for (std::int64_t j = low; j <= i; ++j) most = std::max(most, at(scores, j) = score(i, j));
      std::fill(result.begin(), result.end(), 0.0f);
      for (std::int64_t j = low; j <= i; ++j) {
        const float p = std::exp(at(scores, j) - most);
        sum += p;
        add(rounded(p), row(v_, j), result);
      }
      for (std::int64_t d = 0; d < dim_; ++d) out.row<Bf16>(start_ + i)[column + d] = to_bf16(at(result, d) / sum);
      lse[start_ + i] = most + std::log(sum);
    }
  }

  struct Gradients {
    std::vector<float> dq, dk, dv;
  };
  Gradients backward(ConstTensorView out, ConstTensorView dout, std::int64_t column, const float* lse) const {
    const std::vector<float> o = load(out, column), go = load(dout, column);
    Gradients g{zeros(), zeros(), zeros()};
    for (std::int64_t i = 0; i < length_; ++i) {
      const float delta = dot(row(o, i), row(go, i));
      for (std::int64_t j = first_key(i); j <= i; ++j) {
        const float p = std::exp(score(i, j) - lse[start_ + i]);
        const float ds = rounded(p * (dot(row(go, i), row(v_, j)) - delta)) * scale_;
        add(rounded(p), row(go, i), row(g.dv, j));
        add(has_fault("gradient") ? 1.1f * ds : ds, row(k_, j), row(g.dq, i));
        add(ds, row(q_, i), row(g.dk, j));
      }
    }
    return g;
  }

  std::int64_t kv_head() const { return kv_; }

 private:
  static float& at(std::vector<float>& values, std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  std::vector<float> zeros() const { return std::vector<float>(static_cast<std::size_t>(length_ * dim_)); }
  std::span<const float> row(const std::vector<float>& values, std::int64_t i) const {
    return std::span(values).subspan(static_cast<std::size_t>(i * dim_), static_cast<std::size_t>(dim_));
  }
  std::span<float> row(std::vector<float>& values, std::int64_t i) const {
    return std::span(values).subspan(static_cast<std::size_t>(i * dim_), static_cast<std::size_t>(dim_));
  }
  std::vector<float> load(ConstTensorView from, std::int64_t column) const {
    std::vector<float> values = zeros();
    for (std::int64_t i = 0; i < length_; ++i) {
      for (std::int64_t d = 0; d < dim_; ++d)
        at(values, i * dim_ + d) = to_float(from.row<Bf16>(start_ + i)[column + d]);
    }
    return values;
  }
  static float dot(std::span<const float> a, std::span<const float> b) {
    float sum = 0;
    for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
    return sum;
  }
  static void add(float factor, std::span<const float> values, std::span<float> to) {
    for (std::size_t d = 0; d < to.size(); ++d) to[d] += factor * values[d];
  }
  float score(std::int64_t i, std::int64_t j) const { return dot(row(q_, i), row(k_, j)) * scale_; }
  std::int64_t first_key(std::int64_t i) const { return window_ > 0 ? std::max<std::int64_t>(0, i - window_ + 1) : 0; }

  std::int64_t start_, length_, dim_, window_, kv_ = 0;
  std::vector<float> q_, k_, v_;
  float scale_ = 0;
};

template <class Work>
void for_each_head(const AttentionShape& shape, const HeadRange& heads, ConstTensorView qkv,
                   const Int32Array& cu_seqlens, const Work& work) {
  for (std::size_t sample = 1; sample < cu_seqlens.size(); ++sample) {
    const std::int64_t start = cu_seqlens.host[sample - 1], end = cu_seqlens.host[sample];
    if (start == end) continue;
    for (std::int64_t head = heads.first; head < heads.first + heads.count; ++head)
      work(HeadOfSample(shape, qkv, head, start, end), head, start, end);
  }
}

void define_rows(TensorView view) {
  for (std::int64_t row = 0; row < view.rows; ++row)
    emulator::define_bytes(view.row<Bf16>(row), static_cast<std::size_t>(view.cols) * sizeof(Bf16));
}

}  // namespace

void device_attention(const OpContext&, const AttentionShape& shape, ConstTensorView qkv, const Int32Array& cu_seqlens,
                      TensorView out, TensorView lse) {
  take_memory();
  for_each_head(shape, {0, shape.heads}, qkv, cu_seqlens,
                [&](const HeadOfSample& part, std::int64_t head, std::int64_t, std::int64_t) {
                  part.forward(out, head * shape.head_dim, lse.row<float>(head));
                });
  define_rows(out);
  emulator::define_bytes(lse.data, static_cast<std::size_t>(lse.rows * lse.cols) * sizeof(float));
}

void device_attention_backward(const OpContext&, const AttentionShape& shape, const HeadRange& heads,
                               ConstTensorView qkv, const Int32Array& cu_seqlens, ConstTensorView out,
                               ConstTensorView lse, ConstTensorView dout, TensorView dqkv) {
  take_memory();
  const std::int64_t dim = shape.head_dim, cols = dqkv.cols;
  const std::int64_t k_first = (shape.heads + heads.first_kv(shape)) * dim, v_first = k_first + shape.kv_heads * dim;
  const std::int64_t kv_cols = heads.count_kv(shape) * dim;
  std::vector<float> sums(static_cast<std::size_t>(dqkv.rows * cols));
  for_each_head(shape, heads, qkv, cu_seqlens,
                [&](const HeadOfSample& part, std::int64_t head, std::int64_t start, std::int64_t end) {
                  const auto g = part.backward(out, dout, head * dim, lse.row<float>(head));
                  const auto add = [&](const std::vector<float>& from, std::int64_t column) {
                    for (std::int64_t i = 0; i < end - start; ++i) {
                      for (std::int64_t d = 0; d < dim; ++d)
                        sums[static_cast<std::size_t>((start + i) * cols + column + d)] +=
                            rounded(from[static_cast<std::size_t>(i * dim + d)]);
                    }
                  };
                  add(g.dq, head * dim);
                  add(g.dk, (shape.heads + part.kv_head()) * dim);
                  add(g.dv, (shape.heads + shape.kv_heads + part.kv_head()) * dim);
                });
  const auto write = [&](std::int64_t first, std::int64_t count, bool adds) {
    for (std::int64_t row = 0; row < dqkv.rows; ++row) {
      for (std::int64_t col = first; col < first + count; ++col) {
        Bf16& to = dqkv.row<Bf16>(row)[col];
        const float value = rounded(sums[static_cast<std::size_t>(row * cols + col)]);
        to = to_bf16(adds ? to_float(to) + value : value);
      }
      emulator::define_bytes(dqkv.row<Bf16>(row) + first, static_cast<std::size_t>(count) * sizeof(Bf16));
    }
  };
  write(heads.first * dim, heads.count * dim, false);
  write(k_first, kv_cols, heads.adds);
  write(v_first, kv_cols, heads.adds);
}

}  // namespace shori
