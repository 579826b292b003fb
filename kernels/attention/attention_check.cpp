// The device's attention against the CPU version, on a pack that has every case: several samples, one of a single
// token, lengths on both sides of the kernels' tiles, shared key/value heads.
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/common/op_checks.h"
#include "shori/ops/attention.h"
#include "shori/util/philox.h"

namespace shori {

namespace {

// Of a result's L2 norm. bf16 keeps 8 bits: rounding probabilities and results once each costs about 0.3 %; a wrong
// mask or head costs far more than 2 %.
constexpr double kMaxRelativeError = 0.02;

std::vector<Bf16> random_values(std::int64_t count, std::uint32_t stream) {
  std::vector<Bf16> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const PhiloxWords random = philox4x32(7, {{static_cast<std::uint32_t>(i), stream, 0, 0}});
    // A sum of four uniform numbers, about normal with deviation 1.
    double sum = 0;
    for (const std::uint32_t word : random.word) sum += word * 0x1p-32 - 0.5;
    values[i] = to_bf16(static_cast<float>(sum * std::sqrt(3.0)));
  }
  return values;
}

double relative_error(const std::vector<Bf16>& got, const std::vector<Bf16>& wanted) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double a = to_float(got[i]), b = to_float(wanted[i]);
    difference += (a - b) * (a - b);
    norm += b * b;
  }
  return std::sqrt(difference / norm);
}

// Host values and their copy on the device.
template <typename T>
class Twin {
 public:
  explicit Twin(std::vector<T> values)
      : host(std::move(values)), device(static_cast<T*>(device_allocate(host.size() * sizeof(T)))) {
    copy_to_device(device, host.data(), host.size() * sizeof(T), nullptr);
    synchronize_stream(nullptr);
  }
  ~Twin() { device_free(device); }
  Twin(const Twin&) = delete;
  Twin& operator=(const Twin&) = delete;

  std::vector<T> from_device(void* stream) const {
    std::vector<T> values(host.size());
    copy_to_host(values.data(), device, host.size() * sizeof(T), stream);
    synchronize_stream(stream);
    return values;
  }

  std::vector<T> host;
  T* device;
};

}  // namespace

void check_device_attention(const OpContext& context, const AttentionShape& shape) {
  SHORI_CHECK(on_device(context), "check_device_attention needs a device");
  const Twin<std::int32_t> cu(std::vector<std::int32_t>{0, 1, 66, 194, 451});
  const Int32Array host_seqlens(cu.host), seqlens(cu.host, cu.device);
  const std::int64_t tokens = cu.host.back(), cols = shape.heads * shape.head_dim;
  const std::int64_t qkv_cols = cols + 2 * shape.kv_heads * shape.head_dim;
  const auto zeros = [](std::int64_t count) { return std::vector<Bf16>(static_cast<std::size_t>(count)); };
  Twin<Bf16> qkv(random_values(tokens * qkv_cols, 1)), dout(random_values(tokens * cols, 2));
  Twin<Bf16> out(zeros(tokens * cols)), dqkv(zeros(tokens * qkv_cols));
  Twin<float> lse(std::vector<float>(static_cast<std::size_t>(shape.heads * tokens)));
  const auto matrix = [&](void* data, std::int64_t width) {
    return TensorView{data, DType::kBf16, tokens, width, width};
  };
  const auto log_sums = [&](void* data) { return TensorView{data, DType::kF32, shape.heads, tokens, tokens}; };

  Workspace host_workspace;
  const OpContext cpu{.device = Device::kCpu, .workspace = &host_workspace};
  attention(cpu, shape, matrix(qkv.host.data(), qkv_cols), host_seqlens, matrix(out.host.data(), cols),
            log_sums(lse.host.data()));
  attention_backward(cpu, shape, matrix(qkv.host.data(), qkv_cols), host_seqlens, matrix(out.host.data(), cols),
                     log_sums(lse.host.data()), matrix(dout.host.data(), cols), std::nullopt,
                     matrix(dqkv.host.data(), qkv_cols));
  attention(context, shape, matrix(qkv.device, qkv_cols), seqlens, matrix(out.device, cols), log_sums(lse.device));
  attention_backward(context, shape, matrix(qkv.device, qkv_cols), seqlens, matrix(out.device, cols),
                     log_sums(lse.device), matrix(dout.device, cols), std::nullopt, matrix(dqkv.device, qkv_cols));

  for (const auto& [name, twin] : {std::pair{"the output", &out}, {"the gradient", &dqkv}}) {
    const double error = relative_error(twin->from_device(context.stream), twin->host);
    if (error <= kMaxRelativeError) continue;  // false for NaN
    throw Error(Diagnostic("E0703", std::string("attention on this GPU computes wrong numbers: ") + name +
                                        " is off by " + std::to_string(100 * error) + " % of its size")
                    .note("compared with the CPU version on a small pack before training")
                    .help("libtorch 2.11.0, and report the GPU and driver"));
  }
}

}  // namespace shori
