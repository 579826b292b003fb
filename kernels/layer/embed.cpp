#include "shori/ops/embed.h"

#include <cstring>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/layer/embed_launch.h"
#include "shori/util/text.h"

namespace shori {

void embed(const OpContext& context, ConstTensorView table, const Int32Array& ids, TensorView x) {
  check_context(context, "embed");
  check_activation("embed", "table", table);
  check_matrix("embed", "x", x, table.dtype, static_cast<std::int64_t>(ids.size()), table.cols);
  for (const std::int32_t id : ids.host) {
    SHORI_CHECK(id >= 0 && id < table.rows, concat("embed: token id ", id, " is outside the vocabulary"));
  }
  log_work(context, {.bytes = 2 * bytes_of(x)});
  if (on_device(context)) {
    check_device_rows("embed", "table", table);
    check_device_rows("embed", "x", x);
    check_device_integers("embed", "ids", ids);
    launch_embed({.table = table.row<Bf16>(0),
                  .ids = ids.device,
                  .x = x.row<Bf16>(0),
                  .table_stride = table.stride,
                  .x_stride = x.stride,
                  .rows = x.rows,
                  .cols = x.cols},
                 static_cast<cudaStream_t>(context.stream));
    return;
  }
  const std::size_t size = size_of(table.dtype), row_bytes = static_cast<std::size_t>(table.cols) * size;
  for_each_row_range(x.rows, x.cols, [&](std::int64_t first, std::int64_t last, std::int64_t) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t id = ids.host[static_cast<std::size_t>(row)];
      std::memcpy(x.slice_rows(row, 1).data, table.slice_rows(id, 1).data, row_bytes);
    }
  });
}

}  // namespace shori
