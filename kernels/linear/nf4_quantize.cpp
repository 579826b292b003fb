#include "shori/ops/nf4_quantize.h"

#include "kernels/common/device_tables.h"
#include "kernels/common/op_checks.h"
#include "kernels/linear/nf4_quantize_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/quant/nf4_levels.h"

namespace shori {

void nf4_quantize(const OpContext& context, FileDType source, const void* values, std::int64_t count,
                  std::uint8_t* codes, float* block_absmax) {
  SHORI_CHECK(on_device(context), "nf4_quantize: on the CPU this is Nf4Quantizer");
  SHORI_CHECK(source == FileDType::kBf16 || source == FileDType::kF16 || source == FileDType::kF32,
              "nf4_quantize: values must be BF16, F16 or F32");
  SHORI_CHECK(count % 8 == 0 && reinterpret_cast<std::uintptr_t>(values) % 16 == 0 &&
                  reinterpret_cast<std::uintptr_t>(codes) % 4 == 0,
              "nf4_quantize: a chunk is a multiple of 8 values, 16-byte aligned");
  launch_nf4_quantize({source, values, codes, block_absmax, count}, static_cast<cudaStream_t>(context.stream));
}

void nf4_quantize_absmax(const OpContext& context, const float* block_absmax, std::int64_t blocks, std::uint8_t* absmax,
                         float* absmax2, Nf4Findings* findings) {
  SHORI_CHECK(on_device(context), "nf4_quantize_absmax: on the CPU this is quantize_absmax");
  check_context(context, "nf4_quantize_absmax");
  SHORI_CHECK(blocks > 0, "nf4_quantize_absmax: a tensor without blocks");
  log_work(context, {.bytes = static_cast<double>(blocks) * (sizeof(float) + 1)});
  const WorkspaceFrame frame(*context.workspace);
  const std::int64_t groups = nf4_groups(blocks);
  launch_nf4_quantize_absmax({.block_absmax = block_absmax,
                              .map = device_map_signed(),
                              .groups = context.workspace->take_array<AbsmaxGroup>(static_cast<std::size_t>(groups)),
                              .absmax = absmax,
                              .absmax2 = absmax2,
                              .findings = findings,
                              .blocks = blocks},
                             static_cast<cudaStream_t>(context.stream));
}

std::size_t nf4_quantize_workspace_bytes(std::int64_t blocks) {
  return device_bytes(nf4_groups(blocks) * static_cast<std::int64_t>(sizeof(AbsmaxGroup)));
}

}  // namespace shori
