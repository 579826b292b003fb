#include "shori/ops/adamw8bit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu_parallel.h"
#include "kernels/map_search.h"
#include "kernels/op_checks.h"
#include "shori/quant/dynamic_map.h"

namespace shori {

namespace {

constexpr std::uint8_t kZeroCodeM = 127;  // the code of +0 in the signed map
constexpr std::uint8_t kZeroCodeV = 0;

// What one step needs of one tensor beside its memory: computed once in fp32. powf is the double pow rounded once, so
// that the result does not depend on a library's powf.
struct StepFactors {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float step_size;  // -lr * c2 / c1
  float eps;        // c2 * eps
  float decay;      // 1 - lr * weight_decay
  bool decays;
  float gradient_scale;
  bool guard;
};

float power(float base, std::uint64_t exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

StepFactors step_factors(const AdamSettings& settings, std::uint64_t step) {
  const float c1 = 1.0f - power(settings.beta1, step);
  const float c2 = std::sqrt(1.0f - power(settings.beta2, step));
  return {.beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .one_minus_beta1 = 1.0f - settings.beta1,
          .one_minus_beta2 = 1.0f - settings.beta2,
          .step_size = (-settings.learning_rate * c2) / c1,
          .eps = c2 * settings.eps,
          .decay = 1.0f - settings.learning_rate * settings.weight_decay,
          .decays = settings.weight_decay > 0.0f,
          .gradient_scale = settings.gradient_scale,
          .guard = settings.zero_gradient_guard};
}

// The largest |update| of some elements, and the first that has it.
struct LargestUpdate {
  float value = 0.0f;
  std::int64_t element = 0;
  void see(float update, std::int64_t index) {
    if (std::fabs(update) > value) {
      value = std::fabs(update);
      element = index;
    }
  }
};

void store_copy(const AdamTensor& tensor, std::int64_t i) {
  if (tensor.rounded_copy == nullptr) return;
  const float value = tensor.copy_scale * tensor.parameter[i];
  if (tensor.copy_dtype == DType::kBf16) {
    static_cast<Bf16*>(tensor.rounded_copy)[i] = to_bf16(value);
  } else {
    static_cast<float*>(tensor.rounded_copy)[i] = value;
  }
}

// Moves the parameter by the unquantized moments; decay comes after the update.
void move_parameter(const StepFactors& factors, const AdamTensor& tensor, std::int64_t i, float m, float v, bool still,
                    LargestUpdate& largest) {
  float& parameter = tensor.parameter[i];
  if (!still) {
    const float update = factors.step_size * (m / (std::sqrt(v) + factors.eps));
    parameter = parameter + update;
    largest.see(update, i);
  }
  if (factors.decays) parameter = parameter * factors.decay;
}

// Moments below the 8-bit size stay fp32. There is no rule for NaN here, as in the original.
LargestUpdate update_fp32(const StepFactors& factors, const AdamTensor& tensor, std::int64_t first, std::int64_t last) {
  LargestUpdate largest;
  for (std::int64_t i = first; i < last; ++i) {
    const float g = tensor.gradient[i] * factors.gradient_scale;
    float m = tensor.m[i] * factors.beta1 + factors.one_minus_beta1 * g;
    float v = tensor.v[i] * factors.beta2 + factors.one_minus_beta2 * (g * g);
    const bool still = factors.guard && v == 0.0f;
    if (still) m = v = 0.0f;
    move_parameter(factors, tensor, i, m, v, still, largest);
    tensor.m[i] = m;
    tensor.v[i] = v;
    store_copy(tensor, i);
  }
  return largest;
}

const MapSearch& signed_search() {
  static const MapSearch search(dynamic_map_signed());
  return search;
}
const MapSearch& unsigned_search() {
  static const MapSearch search(dynamic_map_unsigned());
  return search;
}

std::uint8_t code_of_m(const MapSearch& search, const float* map, float m, float absmax) {
  const std::uint8_t code = search.nearest(m / absmax);
  if (std::signbit(map[code]) == std::signbit(m)) return code;
  return static_cast<std::uint8_t>(m > 0.0f ? code + 1 : code - 1);
}

// One quantization block; `m` and `v` are scratch of block_size each.
LargestUpdate update_block(const StepFactors& factors, const AdamTensor& tensor, std::int64_t block,
                           std::int64_t block_size, float* m, float* v) {
  const float *signed_map = dynamic_map_signed(), *unsigned_map = dynamic_map_unsigned();
  const std::int64_t first = block * block_size, count = std::min(block_size, tensor.count - first);
  const float old_m = tensor.m_absmax[block], old_v = tensor.v_absmax[block];
  LargestUpdate largest;
  // Lanes of the kernel beyond a tensor's end hold code 128 and a gradient of 0.
  float m_absmax = count < block_size ? std::fabs(signed_map[128] * old_m * factors.beta1) : 0.0f, v_absmax = 0.0f;
  for (std::int64_t j = 0; j < count; ++j) {
    const std::int64_t i = first + j;
    const bool finite = std::isfinite(tensor.gradient[i]);
    m[j] = v[j] = 0.0f;
    if (finite) {
      const float g = tensor.gradient[i] * factors.gradient_scale;
      v[j] = (unsigned_map[tensor.v_codes[i]] * old_v) * factors.beta2 + (factors.one_minus_beta2 * g) * g;
      m[j] = (signed_map[tensor.m_codes[i]] * old_m) * factors.beta1 + factors.one_minus_beta1 * g;
      const bool still = factors.guard && v[j] == 0.0f;
      if (still) m[j] = v[j] = 0.0f;
      move_parameter(factors, tensor, i, m[j], v[j], still, largest);
    }
    m_absmax = std::max(m_absmax, std::fabs(m[j]));
    v_absmax = std::max(v_absmax, std::fabs(v[j]));
    store_copy(tensor, i);
  }
  const MapSearch &find_m = signed_search(), &find_v = unsigned_search();
  for (std::int64_t j = 0; j < count; ++j) {
    const std::int64_t i = first + j;
    const bool zeroed = factors.guard && v[j] == 0.0f;
    tensor.m_codes[i] = zeroed ? kZeroCodeM : code_of_m(find_m, signed_map, m[j], m_absmax);
    tensor.v_codes[i] = zeroed ? kZeroCodeV : find_v.nearest(v[j] / v_absmax);
  }
  tensor.m_absmax[block] = m_absmax;
  tensor.v_absmax[block] = v_absmax;
  return largest;
}

// A part of one tensor that one task updates.
struct Piece {
  std::int64_t tensor;
  std::int64_t index;  // of the block, or of the piece of block_size elements
};

void check_tensor(const AdamTensor& tensor) {
  SHORI_CHECK(tensor.parameter != nullptr && tensor.gradient != nullptr && tensor.step > 0,
              "adamw8bit: a tensor needs a parameter, a gradient and a step from 1");
  const bool quantized = tensor.m_codes != nullptr && tensor.v_codes != nullptr && tensor.m_absmax != nullptr &&
                         tensor.v_absmax != nullptr;
  const bool plain = tensor.m != nullptr && tensor.v != nullptr;
  SHORI_CHECK(quantized != plain, "adamw8bit: a tensor needs either 8-bit or 32-bit moments");
}

}  // namespace

AdamReport adamw8bit(const OpContext& context, const AdamSettings& settings, std::span<const AdamTensor> tensors) {
  check_context(context, "adamw8bit");
  SHORI_CHECK(settings.block_size > 0, "adamw8bit: the block size must be positive");
  std::vector<Piece> pieces;
  std::vector<StepFactors> factors;
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    check_tensor(tensors[index]);
    factors.push_back(step_factors(settings, tensors[index].step));
    const std::int64_t blocks = tiles_of(tensors[index].count, settings.block_size);
    for (std::int64_t block = 0; block < blocks; ++block) pieces.push_back({static_cast<std::int64_t>(index), block});
  }
  const WorkspaceFrame frame(*context.workspace);
  const std::int64_t size = settings.block_size;
  const WorkerScratch scratch(context, {size, size});
  auto* largest = context.workspace->take_array<LargestUpdate>(pieces.size());
  for_each_row_range(
      static_cast<std::int64_t>(pieces.size()), size, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
        const auto [m, v] = scratch.of(worker);
        for (std::int64_t i = first; i < last; ++i) {
          const auto& [index, block] = pieces[static_cast<std::size_t>(i)];
          const AdamTensor& tensor = tensors[static_cast<std::size_t>(index)];
          const StepFactors& step = factors[static_cast<std::size_t>(index)];
          largest[i] = tensor.m_codes != nullptr
                           ? update_block(step, tensor, block, size, m, v)
                           : update_fp32(step, tensor, block * size, std::min(tensor.count, (block + 1) * size));
        }
      });
  AdamReport report;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (largest[i].value > report.update_max) report = {largest[i].value, pieces[i].tensor, largest[i].element};
  }
  return report;
}

}  // namespace shori
