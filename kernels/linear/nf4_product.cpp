#include "kernels/linear/nf4_product.h"

#include <algorithm>
#include <limits>

#include "kernels/common/device_tables.h"
#include "kernels/common/op_checks.h"
#include "kernels/linear/nf4_product_launch.h"
#include "kernels/linear/scale_rows_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/nf4_linear.h"

namespace shori {
namespace {

constexpr std::int64_t kTileRows = 256;
constexpr int kTilesTogether = 8;  // tiles of rows: 8 x 10 of them are in work at once on 82 multiprocessors

Nf4ProductLaunch launch_of(const LinearGroup& group, bool half_sums) {
  Nf4ProductLaunch launch{.module = {},
                          .modules = static_cast<int>(group.modules.size()),
                          .map = device_map_signed(),
                          .a = nullptr,
                          .undo = nullptr,
                          .y = nullptr,
                          .a_stride = 0,
                          .y_stride = 0,
                          .m = 0,
                          .in = static_cast<int>(group.in()),
                          .lora_columns = static_cast<int>(group.lora_columns()),
                          .rank = static_cast<int>(group.rank),
                          .group_m = kTilesTogether,
                          .half_sums = half_sums};
  int output = 0;
  for (std::size_t i = 0; i < group.modules.size(); ++i) {
    const LinearModule& linear = group.modules[i];
    const Nf4View& nf4 = linear.weight.nf4;
    const bool lora = linear.has_lora();
    launch.module[i] = {.codes = nf4.codes,
                        .absmax = nf4.absmax,
                        .absmax2 = nf4.absmax2,
                        .scales = nf4.scales,
                        .b = lora ? static_cast<const Bf16*>(linear.b_scaled) : nullptr,
                        .offset = nf4.offset,
                        .rows = static_cast<int>(linear.weight.rows),
                        .first_output = output,
                        .b_column = lora ? linear.lora_index * launch.rank : 0};
    output += launch.module[i].rows;
  }
  return launch;
}

// Memory for scaled rows. It takes no more than the dequantized weight and the workspace of its product would: this product
// needs neither. So it overwrites the decoded weight that another product of the group may have left.
class RowMemory {
 public:
  RowMemory(const OpContext& context, const LinearGroup& group, std::int64_t width) : workspace_(context.workspace) {
    const std::int64_t weight = group.out() * group.fused_in() * static_cast<std::int64_t>(sizeof(Bf16));
    if (group.decoded == nullptr) {
      bytes_ = static_cast<std::int64_t>(nf4_linear_workspace_bytes(group.out(), group.fused_in()));
    } else if (weight >= kTileRows * bytes_of_row(width) + kRounding) {
      bytes_ = weight;
      of_weight_ = Workspace(group.decoded->memory.data, static_cast<std::size_t>(weight));
      workspace_ = &of_weight_;
      group.decoded->is_filled = false;
    } else {
      bytes_ = static_cast<std::int64_t>(kMatmulWorkspaceBytes);
    }
  }
  RowMemory(const RowMemory&) = delete;
  RowMemory& operator=(const RowMemory&) = delete;

  Workspace& workspace() { return *workspace_; }
  std::int64_t most_rows(std::int64_t width) const {
    return (bytes_ - kRounding) / bytes_of_row(width) / kTileRows * kTileRows;
  }

 private:
  static constexpr std::int64_t kRounding = 1024;  // two slices of a workspace
  static std::int64_t bytes_of_row(std::int64_t width) { return width * 2 + 4; }

  Workspace* workspace_;
  Workspace of_weight_;
  std::int64_t bytes_ = 0;
};

// Rows at a time, in parts of nearly the same size.
std::int64_t rows_at_once(std::int64_t most, std::int64_t rows) {
  const std::int64_t parts = ceil_div(rows, std::max(most, kTileRows));
  return std::min(rows, round_up(ceil_div(rows, parts), kTileRows));
}

// Calls product(launch) for parts of the rows of `from`, scaled. Columns from `cols` on stay bf16.
template <class Product>
void for_scaled_rows(const OpContext& context, const LinearGroup& group, bool half_sums, ConstTensorView from,
                     std::int64_t cols, TensorView to, const Product& product) {
  SHORI_CHECK(
      from.rows * std::max(group.out(), group.fused_in()) / kTileRows <= std::numeric_limits<std::int32_t>::max(),
      "nf4_product: too many tiles for one launch");
  RowMemory memory(context, group, from.cols);
  const WorkspaceFrame frame(memory.workspace());
  const std::int64_t step = rows_at_once(memory.most_rows(from.cols), from.rows);
  auto* scaled = memory.workspace().take_array<std::uint16_t>(static_cast<std::size_t>(step * from.cols));
  auto* undo = memory.workspace().take_array<float>(static_cast<std::size_t>(step));
  Nf4ProductLaunch launch = launch_of(group, half_sums);
  launch.a = scaled;
  launch.undo = undo;
  launch.a_stride = from.cols;
  launch.y_stride = to.stride;
  for (std::int64_t first = 0; first < from.rows; first += step) {
    const std::int64_t count = std::min(step, from.rows - first);
    launch_scale_rows({.from = from.row<Bf16>(first),
                       .to = scaled,
                       .undo = undo,
                       .stride = from.stride,
                       .rows = static_cast<int>(count),
                       .cols = static_cast<int>(cols),
                       .other_cols = static_cast<int>(from.cols - cols)},
                      static_cast<cudaStream_t>(context.stream));
    launch.y = to.row<Bf16>(first);
    launch.m = static_cast<int>(count);
    product(launch, static_cast<cudaStream_t>(context.stream));
  }
}

}  // namespace

bool nf4_product_takes(const LinearGroup& group) {
  if (group.in() % 32 != 0 || group.modules.size() > kMaxModulesOfGroup) return false;
  return std::ranges::all_of(group.modules, [](const LinearModule& module) {
    const FrozenWeight& weight = module.weight;
    return weight.dtype == DType::kU8 && weight.rows % 8 == 0 &&
           reinterpret_cast<std::uintptr_t>(weight.nf4.codes) % 16 == 0;
  });
}

bool adds_faster_in_half(const DeviceInfo& device) {
  return device.sm_major == 8 && (device.sm_minor == 6 || device.sm_minor == 9);
}

void nf4_product(const OpContext& context, const LinearGroup& group, bool half_sums, ConstTensorView fused_x,
                 TensorView y) {
  if (fused_x.rows == 0) return;
  for_scaled_rows(context, group, half_sums, fused_x, group.in(), y, launch_nf4_product);
}

void nf4_product_backward(const OpContext& context, const LinearGroup& group, bool half_sums, ConstTensorView dy,
                          TensorView fused_dx) {
  if (dy.rows == 0) return;
  for_scaled_rows(context, group, half_sums, dy, dy.cols, fused_dx, launch_nf4_product_backward);
}

}  // namespace shori
