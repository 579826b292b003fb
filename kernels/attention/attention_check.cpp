// Compares the device's attention with the CPU version on a small pack that has every case: several samples, one of them
// of a single token, lengths on both sides of the kernels' tiles, shared key/value heads. A model with a window is compared
// with and without it: where no sample is longer than the window, the library runs its kernels without one.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/common/device_array.h"
#include "kernels/common/op_checks.h"
#include "shori/ops/attention.h"
#include "shori/util/philox.h"
#include "shori/util/text.h"

namespace shori {

namespace {

// Error over the L2 norm of a result. bf16 keeps 8 bits: rounding probabilities and results once each costs about 0.3 %,
// while a wrong mask or head costs far more than 2 %.
constexpr double kMaxRelativeError = 0.02;

constexpr std::uint64_t kSeed = 7;
enum Stream : std::uint32_t { kQkvStream = 1, kDoutStream = 2 };

std::vector<Bf16> random_values(std::int64_t count, Stream stream) {
  std::vector<Bf16> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const PhiloxWords random = philox4x32(kSeed, {{static_cast<std::uint32_t>(i), stream, 0, 0}});
    // The sum of four uniform numbers is about normal; the factor gives it a deviation of 1.
    double sum = 0;
    for (const std::uint32_t word : random.word) sum += word * 0x1p-32 - 0.5;
    values[i] = to_bf16(static_cast<float>(sum * std::sqrt(3.0)));
  }
  return values;
}

double relative_error(const std::vector<Bf16>& got, const std::vector<Bf16>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double a = to_float(got[i]), b = to_float(expected[i]);
    difference += (a - b) * (a - b);
    norm += b * b;
  }
  return std::sqrt(difference / norm);
}

// Shorter than the longest sample of the pack, and no multiple of a tile.
constexpr std::int64_t kCheckedWindow = 100;

struct Pack {
  std::vector<std::int32_t> cu_seqlens = {0, 1, 66, 194, 451};
  std::vector<Bf16> qkv, dout;
};

struct Results {
  std::vector<Bf16> out, dqkv;
};

// Views of the operands in one memory.
struct Operands {
  const AttentionShape& shape;
  std::int64_t tokens;

  std::int64_t out_cols() const { return shape.heads * shape.head_dim; }
  std::int64_t qkv_cols() const { return out_cols() + 2 * shape.kv_heads * shape.head_dim; }
  TensorView matrix(void* data, std::int64_t cols) const { return {data, DType::kBf16, tokens, cols, cols}; }
  TensorView lse(void* data) const { return {data, DType::kF32, shape.heads, tokens, tokens}; }
  std::size_t count(std::int64_t cols) const { return static_cast<std::size_t>(tokens * cols); }

  // Forward and backward, with all operands in the memory of the context's device.
  void run(const OpContext& context, const Int32Array& cu_seqlens, void* qkv, void* dout, void* out, void* dqkv,
           void* log_sum_exp) const {
    attention(context, shape, matrix(qkv, qkv_cols()), cu_seqlens, matrix(out, out_cols()), lse(log_sum_exp));
    attention_backward(context, shape, matrix(qkv, qkv_cols()), cu_seqlens, matrix(out, out_cols()), lse(log_sum_exp),
                       matrix(dout, out_cols()), std::nullopt, matrix(dqkv, qkv_cols()));
  }
};

Results run_on_cpu(const Operands& operands, Pack pack) {
  Workspace workspace;
  Results results{std::vector<Bf16>(operands.count(operands.out_cols())),
                  std::vector<Bf16>(operands.count(operands.qkv_cols()))};
  std::vector<float> lse(operands.count(operands.shape.heads));
  operands.run({.device = Device::kCpu, .workspace = &workspace}, pack.cu_seqlens, pack.qkv.data(), pack.dout.data(),
               results.out.data(), results.dqkv.data(), lse.data());
  return results;
}

Results run_on_device(const OpContext& context, const Operands& operands, const Pack& pack) {
  const DeviceArray<std::int32_t> cu_seqlens(pack.cu_seqlens);
  const DeviceArray<Bf16> qkv(pack.qkv), dout(pack.dout), out(operands.count(operands.out_cols())),
      dqkv(operands.count(operands.qkv_cols()));
  const DeviceArray<float> lse(operands.count(operands.shape.heads));
  operands.run(context, {pack.cu_seqlens, cu_seqlens.get()}, qkv.get(), dout.get(), out.get(), dqkv.get(), lse.get());
  return {out.to_host(context.stream), dqkv.to_host(context.stream)};
}

void check_error(const std::string& name, const std::vector<Bf16>& got, const std::vector<Bf16>& expected) {
  const double error = relative_error(got, expected);
  if (error <= kMaxRelativeError) return;  // false for NaN
  throw Error(Diagnostic("E0703", concat("attention on this GPU computes wrong numbers: ", name, " is off by ",
                                         std::to_string(100 * error), " % of its size"))
                  .note("compared with the CPU version on a small pack before training")
                  .help("use libtorch 2.11.0; if this is the release in use, report the GPU and its driver"));
}

void check_shape(const OpContext& context, const AttentionShape& shape) {
  Pack pack;
  const Operands operands{shape, pack.cu_seqlens.back()};
  pack.qkv = random_values(operands.tokens * operands.qkv_cols(), kQkvStream);
  pack.dout = random_values(operands.tokens * operands.out_cols(), kDoutStream);
  const Results expected = run_on_cpu(operands, pack), got = run_on_device(context, operands, pack);
  const std::string window = shape.window > 0 ? concat(" with a window of ", shape.window) : "";
  check_error("the output" + window, got.out, expected.out);
  check_error("the gradient" + window, got.dqkv, expected.dqkv);
}

}  // namespace

void check_device_attention(const OpContext& context, const AttentionShape& shape) {
  SHORI_CHECK(on_device(context), "check_device_attention needs a device");
  AttentionShape checked = shape;
  checked.window = 0;
  check_shape(context, checked);
  if (shape.window == 0) return;
  checked.window = std::min(shape.window, kCheckedWindow);
  check_shape(context, checked);
}

}  // namespace shori
