// The optimizer. The arithmetic of one element is written once (adamw8bit_math.h) and shared with the kernel. Quantization
// blocks are independent, so a task on the CPU takes some of them and a thread block on a device takes one chunk; both
// report the largest update by the first element that has it.
#include "shori/ops/adamw8bit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/common/device_tables.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/optimizer/adamw8bit_launch.h"
#include "kernels/optimizer/adamw8bit_math.h"
#include "kernels/optimizer/map_search.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// pow in double, rounded once, so that the result does not depend on a library's powf.
float power(float base, std::uint64_t exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

AdamFactors step_factors(const AdamSettings& settings, std::uint64_t step) {
  const float c1 = 1.0f - power(settings.beta1, step);
  const float c2 = std::sqrt(1.0f - power(settings.beta2, step));
  return {.beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .one_minus_beta1 = 1.0f - settings.beta1,
          .one_minus_beta2 = 1.0f - settings.beta2,
          .step_size = (-settings.learning_rate * c2) / c1,
          .eps = c2 * settings.eps,
          .decay = adam_decay_factor(settings.learning_rate, settings.weight_decay),
          .gradient_scale = settings.gradient_scale,
          .decays = settings.weight_decay > 0.0f,
          .guard = settings.zero_gradient_guard};
}

// The largest |update| of some elements, and the first element that has it.
struct LargestUpdate {
  float value = 0.0f;
  std::int64_t element = 0;
  void see(float size, std::int64_t index) {
    if (size > value) {
      value = size;
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

// Updates elements whose moments are fp32.
LargestUpdate update_fp32(const AdamFactors& factors, const AdamTensor& tensor, std::int64_t first, std::int64_t last) {
  LargestUpdate largest;
  for (std::int64_t i = first; i < last; ++i) {
    const AdamMoments fresh = fresh_moments_fp32(factors, tensor.m[i], tensor.v[i], tensor.gradient[i]);
    largest.see(move_parameter(factors, fresh, tensor.parameter[i]), i);
    tensor.m[i] = fresh.m;
    tensor.v[i] = fresh.v;
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

// Updates one quantization block. `m` and `v` are scratch of block_size elements each.
LargestUpdate update_block(const AdamFactors& factors, const AdamTensor& tensor, std::int64_t block,
                           std::int64_t block_size, float* m, float* v) {
  const float *signed_map = dynamic_map_signed(), *unsigned_map = dynamic_map_unsigned();
  const std::int64_t first = block * block_size, count = std::min(block_size, tensor.count - first);
  const float old_m = tensor.m_absmax[block], old_v = tensor.v_absmax[block];
  LargestUpdate largest;
  // In bitsandbytes' kernel, lanes past the end of a tensor hold code 128 and a gradient of 0.
  float m_absmax = count < block_size ? std::fabs(signed_map[128] * old_m * factors.beta1) : 0.0f, v_absmax = 0.0f;
  for (std::int64_t j = 0; j < count; ++j) {
    const std::int64_t i = first + j;
    const bool finite = std::isfinite(tensor.gradient[i]);
    m[j] = v[j] = 0.0f;
    if (finite) {
      const AdamMoments fresh = fresh_moments(factors, signed_map[tensor.m_codes[i]] * old_m,
                                              unsigned_map[tensor.v_codes[i]] * old_v, tensor.gradient[i]);
      m[j] = fresh.m;
      v[j] = fresh.v;
      largest.see(move_parameter(factors, fresh, tensor.parameter[i]), i);
    }
    m_absmax = std::max(m_absmax, std::fabs(m[j]));
    v_absmax = std::max(v_absmax, std::fabs(v[j]));
    store_copy(tensor, i);
  }
  const MapSearch &find_m = signed_search(), &find_v = unsigned_search();
  for (std::int64_t j = 0; j < count; ++j) {
    const std::int64_t i = first + j;
    const bool zeroed = factors.guard && v[j] == 0.0f;
    tensor.m_codes[i] = zeroed ? kZeroCodeM : with_sign_of(signed_map, find_m.nearest(m[j] / m_absmax), m[j]);
    tensor.v_codes[i] = zeroed ? kZeroCodeV : find_v.nearest(v[j] / v_absmax);
  }
  tensor.m_absmax[block] = m_absmax;
  tensor.v_absmax[block] = v_absmax;
  return largest;
}

// block_size elements of one tensor, which one task updates.
struct Chunk {
  std::int64_t tensor;
  std::int64_t index;  // in the tensor; for 8-bit moments the number of the quantization block
};

void check_tensor(const AdamTensor& tensor) {
  SHORI_CHECK(tensor.parameter != nullptr && tensor.gradient != nullptr && tensor.step > 0,
              "adamw8bit: a tensor needs a parameter, a gradient and a step from 1");
  const bool quantized = tensor.m_codes != nullptr && tensor.v_codes != nullptr && tensor.m_absmax != nullptr &&
                         tensor.v_absmax != nullptr;
  const bool plain = tensor.m != nullptr && tensor.v != nullptr;
  SHORI_CHECK(quantized != plain, "adamw8bit: a tensor needs either 8-bit or 32-bit moments");
}

AdamEntry device_entry(const AdamSettings& settings, const AdamTensor& tensor, std::int64_t first_chunk) {
  for (const void* pointer : {static_cast<const void*>(tensor.parameter), static_cast<const void*>(tensor.gradient),
                              static_cast<const void*>(tensor.m), static_cast<const void*>(tensor.v),
                              static_cast<const void*>(tensor.m_codes), static_cast<const void*>(tensor.v_codes),
                              static_cast<const void*>(tensor.rounded_copy)}) {
    SHORI_CHECK(reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0, "adamw8bit: unaligned memory on a device");
  }
  const bool rounds = tensor.copy_dtype == DType::kBf16;
  return {.parameter = tensor.parameter,
          .gradient = tensor.gradient,
          .m_codes = tensor.m_codes,
          .v_codes = tensor.v_codes,
          .m_absmax = tensor.m_absmax,
          .v_absmax = tensor.v_absmax,
          .m = tensor.m,
          .v = tensor.v,
          .bf16_copy = rounds ? static_cast<Bf16*>(tensor.rounded_copy) : nullptr,
          .fp32_copy = rounds ? nullptr : static_cast<float*>(tensor.rounded_copy),
          .copy_scale = tensor.copy_scale,
          .factors = step_factors(settings, tensor.step),
          .count = tensor.count,
          .first = first_chunk};
}

double bytes_of_step(std::span<const AdamTensor> tensors) {
  double bytes = 0;
  for (const AdamTensor& tensor : tensors) {
    const std::size_t moments = tensor.m_codes != nullptr ? 4 : 16,
                      copy = tensor.rounded_copy != nullptr ? size_of(tensor.copy_dtype) : 0;
    bytes += static_cast<double>(tensor.count) * static_cast<double>(12 + moments + copy);
  }
  return bytes;
}

// Reads the report from the key that launch_adamw8bit() leaves.
AdamReport unpack_report(std::uint64_t key, std::span<const AdamEntry> entries) {
  if (key == 0) return {};
  const auto position = static_cast<std::int64_t>(0xffffffffu - static_cast<std::uint32_t>(key));
  std::size_t tensor = entries.size() - 1;
  while (entries[tensor].first * kAdamChunk > position) --tensor;
  return {.update_max = std::bit_cast<float>(static_cast<std::uint32_t>(key >> 32)),
          .tensor = static_cast<std::int64_t>(tensor),
          .element = position - entries[tensor].first * kAdamChunk};
}

AdamReport adamw8bit_on_device(const OpContext& context, const AdamSettings& settings,
                               std::span<const AdamTensor> tensors) {
  SHORI_CHECK(settings.block_size == 256 || settings.block_size == kAdamChunk,
              "adamw8bit: blocks on a device have 256 or 2048 elements");
  std::vector<AdamEntry> entries;
  std::int64_t chunks = 0;
  for (const AdamTensor& tensor : tensors) {
    check_tensor(tensor);
    entries.push_back(device_entry(settings, tensor, chunks));
    chunks += ceil_div(tensor.count, kAdamChunk);
  }
  SHORI_CHECK(chunks <= 0xffffffff / kAdamChunk, "adamw8bit: more than 2^32 elements in one step");
  const WorkspaceFrame frame(*context.workspace);
  const auto stream = static_cast<cudaStream_t>(context.stream);
  auto* table = context.workspace->take_array<AdamEntry>(entries.size());
  auto* largest = context.workspace->take_array<unsigned long long>(1);
  copy_to_device(table, entries.data(), entries.size() * sizeof(AdamEntry), stream);
  fill_zero_on_device(largest, sizeof(*largest), stream);
  launch_adamw8bit(table, static_cast<int>(entries.size()), chunks, settings.block_size, device_map_signed(),
                   device_map_unsigned(), largest, stream);
  unsigned long long key = 0;
  copy_to_host(&key, largest, sizeof(key), stream);
  synchronize_stream(stream);
  return unpack_report(key, entries);
}

AdamReport adamw8bit_on_cpu(const OpContext& context, const AdamSettings& settings,
                            std::span<const AdamTensor> tensors) {
  const std::int64_t size = settings.block_size;
  std::vector<Chunk> chunks;
  std::vector<AdamFactors> factors;
  for (std::size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    check_tensor(tensors[tensor]);
    factors.push_back(step_factors(settings, tensors[tensor].step));
    const std::int64_t count = ceil_div(tensors[tensor].count, size);
    for (std::int64_t index = 0; index < count; ++index) chunks.push_back({static_cast<std::int64_t>(tensor), index});
  }
  const WorkspaceFrame frame(*context.workspace);
  const WorkerScratch scratch(context, {size, size});
  auto* largest = context.workspace->take_array<LargestUpdate>(chunks.size());
  for_each_row_range(
      static_cast<std::int64_t>(chunks.size()), size, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
        const auto [m, v] = scratch.of(worker);
        for (std::int64_t i = first; i < last; ++i) {
          const auto& [number, index] = chunks[static_cast<std::size_t>(i)];
          const AdamTensor& tensor = tensors[static_cast<std::size_t>(number)];
          const AdamFactors& step = factors[static_cast<std::size_t>(number)];
          largest[i] = tensor.m_codes != nullptr
                           ? update_block(step, tensor, index, size, m, v)
                           : update_fp32(step, tensor, index * size, std::min(tensor.count, (index + 1) * size));
        }
      });
  AdamReport report;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (largest[i].value > report.update_max) report = {largest[i].value, chunks[i].tensor, largest[i].element};
  }
  return report;
}

}  // namespace

float adam_decay_factor(float learning_rate, float weight_decay) { return 1.0f - learning_rate * weight_decay; }

AdamReport adamw8bit(const OpContext& context, const AdamSettings& settings, std::span<const AdamTensor> tensors) {
  check_context(context, "adamw8bit");
  SHORI_CHECK(settings.block_size > 0, "adamw8bit: the block size must be positive");
  log_work(context, {.bytes = bytes_of_step(tensors)});
  if (on_device(context)) return adamw8bit_on_device(context, settings, tensors);
  return adamw8bit_on_cpu(context, settings, tensors);
}

}  // namespace shori
