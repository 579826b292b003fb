#include "shori/ops/rope.h"

#include <cmath>
#include <cstring>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/layer/rope_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/util/text.h"

namespace shori {

namespace {

void store_table_value(RopeTable& table, std::vector<std::byte>& out, std::int64_t index, float value) {
  if (table.dtype == DType::kBf16) {
    const Bf16 rounded = to_bf16(value);
    std::memcpy(out.data() + index * 2, &rounded, 2);
  } else {
    std::memcpy(out.data() + index * 4, &value, 4);
  }
}

}  // namespace

std::vector<float> rope_inverse_frequencies(std::int64_t head_dim, double theta) {
  SHORI_CHECK(head_dim > 0 && head_dim % 2 == 0, "rope: the head size must be even");
  std::vector<float> result(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t k = 0; k < result.size(); ++k) {
    const double exponent = 2.0 * static_cast<double>(k) / static_cast<double>(head_dim);
    result[k] = 1.0f / static_cast<float>(std::pow(theta, exponent));
  }
  return result;
}

RopeTable make_rope_table(DType dtype, std::int64_t positions, std::int64_t head_dim, double theta) {
  SHORI_CHECK(dtype == DType::kBf16 || dtype == DType::kF32, "rope: tables are bf16 or fp32");
  const std::vector<float> frequencies = rope_inverse_frequencies(head_dim, theta);
  RopeTable table;
  table.dtype = dtype;
  table.positions = positions;
  table.half = head_dim / 2;
  const std::size_t bytes = static_cast<std::size_t>(positions * table.half) * size_of(dtype);
  table.cos.resize(bytes);
  table.sin.resize(bytes);
  for_each_row_range(positions, table.half, [&](std::int64_t first, std::int64_t last, std::int64_t) {
    for (std::int64_t position = first; position < last; ++position) {
      for (std::int64_t k = 0; k < table.half; ++k) {
        const double angle = static_cast<float>(position) * frequencies[static_cast<std::size_t>(k)];
        store_table_value(table, table.cos, position * table.half + k, static_cast<float>(std::cos(angle)));
        store_table_value(table, table.sin, position * table.half + k, static_cast<float>(std::sin(angle)));
      }
    }
  });
  return table;
}

namespace {

void rope_on_device(const OpContext& context, const RopeTable& table, const Int32Array& positions, bool inverse,
                    TensorView heads) {
  check_device_rows("rope", "heads", heads);
  check_device_integers("rope", "positions", positions);
  SHORI_CHECK(2 * table.half % kDeviceHeadMultiple == 0, "rope: head sizes on a device are multiples of 16");
  SHORI_CHECK(table.device_cos != nullptr && table.device_sin != nullptr, "rope: the table is not on the device");
  launch_rope({.heads = heads.row<Bf16>(0),
               .cos = static_cast<const Bf16*>(table.device_cos),
               .sin = static_cast<const Bf16*>(table.device_sin),
               .positions = positions.device,
               .stride = heads.stride,
               .rows = heads.rows,
               .heads_of_row = static_cast<int>(heads.cols / (2 * table.half)),
               .half = static_cast<int>(table.half),
               .inverse = inverse},
              static_cast<cudaStream_t>(context.stream));
}

void rope_on_cpu(const OpContext& context, const RopeTable& table, std::span<const std::int32_t> positions,
                 bool inverse, TensorView heads) {
  const std::int64_t half = table.half, head_dim = 2 * half;
  const ConstTensorView cos_view{table.cos.data(), table.dtype, table.positions, half, half};
  const ConstTensorView sin_view{table.sin.data(), table.dtype, table.positions, half, half};
  const WorkspaceFrame frame(*context.workspace);
  const WorkerScratch scratch(context, {half, half, head_dim});
  for_each_row_range(heads.rows, heads.cols, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    const auto [cos, sin, head] = scratch.of(worker);
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t position = positions[static_cast<std::size_t>(row)];
      load_row(cos_view, position, 0, half, cos);
      load_row(sin_view, position, 0, half, sin);
      if (inverse) scale_row(-1.0f, sin, half);
      for (std::int64_t col = 0; col < heads.cols; col += head_dim) {
        load_row(heads, row, col, head_dim, head);
        rotate_row(table.dtype, cos, sin, head, head + half, half);
        store_row(head, heads, row, col, head_dim);
      }
    }
  });
}

}  // namespace

void rope(const OpContext& context, const RopeTable& table, const Int32Array& positions, bool inverse,
          TensorView heads) {
  check_context(context, "rope");
  const std::int64_t head_dim = 2 * table.half;
  check_matrix("rope", "heads", heads, table.dtype, static_cast<std::int64_t>(positions.size()), heads.cols);
  SHORI_CHECK(head_dim > 0 && heads.cols % head_dim == 0, "rope: columns must be whole heads");
  for (const std::int32_t position : positions.host) {
    SHORI_CHECK(position >= 0 && position < table.positions,
                concat("rope: position ", position, " is beyond the table"));
  }
  log_work(context, {.bytes = 2 * bytes_of(heads)});
  if (on_device(context)) {
    rope_on_device(context, table, positions, inverse, heads);
  } else {
    rope_on_cpu(context, table, positions.host, inverse, heads);
  }
}

}  // namespace shori
