#include "src/model/weights/chunk_stream.h"

#include <algorithm>
#include <new>

namespace shori {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

ChunkBuffers::ChunkBuffers(bool pinned, std::size_t count, std::size_t bytes) : pinned_(pinned) {
  for (std::size_t i = 0; i < count; ++i) {
    buffers_.push_back(static_cast<std::byte*>(pinned ? pinned_allocate(bytes) : ::operator new(bytes, kAlignment)));
  }
}

ChunkBuffers::~ChunkBuffers() {
  for (std::byte* buffer : buffers_) {
    pinned_ ? pinned_free(buffer) : ::operator delete(buffer, kAlignment);
  }
}

StreamShape stream_shape(Device device, int threads) {
  const int readers = std::clamp(threads, 1, 4);
  const auto reader_count = static_cast<std::size_t>(readers);
  // 8 MiB keep a disk and a PCIe link busy. On the CPU a chunk gives each thread 512 KiB, which fit its cache.
  if (device == Device::kCuda) return {readers, 2 * reader_count + 2, std::size_t{8} << 20};
  return {readers, reader_count + 2, (std::size_t{1} << 19) * static_cast<std::size_t>(std::clamp(threads, 1, 16))};
}

void ChunksInFlight::add(const TensorChunk& chunk, const DeviceStream& copies) {
  in_flight_.push_back({chunk, std::make_unique<DeviceEvent>()});
  in_flight_.back().done->record(copies.handle());
  wait(2);
}

void ChunksInFlight::wait(std::size_t remaining) {
  while (in_flight_.size() > remaining) {
    in_flight_.front().done->synchronize();
    chunks_.release(in_flight_.front().chunk);
    in_flight_.pop_front();
  }
}

}  // namespace shori
