// Tensors of a device as the host can read them.
#pragma once

#include <cstddef>
#include <vector>

#include "shori/model/owned_tensor.h"

namespace shori {

// The same rows in host memory. `copy` holds them if they are on a device; the context's stream is waited for.
inline ConstTensorView host_view(const OpContext& context, ConstTensorView rows, std::vector<std::byte>& copy) {
  if (context.device == Device::kCpu || rows.rows == 0) return rows;
  copy.resize(static_cast<std::size_t>((rows.rows - 1) * rows.stride + rows.cols) * size_of(rows.dtype));
  copy_to_host(copy.data(), rows.data, copy.size(), context.stream);
  wait_for_device(context);
  rows.data = copy.data();
  return rows;
}

}  // namespace shori
