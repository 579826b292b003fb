#include "kernels/common/device_tables.h"

#include "shori/quant/blockwise8.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/device.h"

namespace shori {

namespace {

// The copy is never freed: it lives as long as the device does.
const float* upload(const float* map) {
  auto* copy = static_cast<float*>(device_allocate(kMapSize * sizeof(float)));
  copy_to_device(copy, map, kMapSize * sizeof(float), nullptr);
  synchronize_stream(nullptr);
  return copy;
}

}  // namespace

const float* device_map_signed() {
  static const float* const map = upload(dynamic_map_signed());
  return map;
}

const float* device_map_unsigned() {
  static const float* const map = upload(dynamic_map_unsigned());
  return map;
}

}  // namespace shori
