// How tensors are streamed into weights: buffers for the chunks, how many and how large, and copies to a device that
// are in flight while the next chunks are read.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "shori/io/tensor_stream.h"
#include "shori/util/device.h"

namespace shori {

// Page-locked or plain memory for the chunks of a stream.
class ChunkBuffers {
 public:
  ChunkBuffers(bool pinned, std::size_t count, std::size_t bytes);
  ~ChunkBuffers();
  ChunkBuffers(const ChunkBuffers&) = delete;
  ChunkBuffers& operator=(const ChunkBuffers&) = delete;
  const std::vector<std::byte*>& all() const { return buffers_; }

 private:
  bool pinned_;
  std::vector<std::byte*> buffers_;
};

// Threads that read, buffers they fill, and bytes of one, for weights that go to `device`.
struct StreamShape {
  int readers = 1;
  std::size_t buffers = 2, chunk_bytes = 0;
};
StreamShape stream_shape(Device device, int threads);

// Chunks whose copies to the device are in flight. They go back to their stream when the copies are done.
class ChunksInFlight {
 public:
  explicit ChunksInFlight(TensorStream& chunks) : chunks_(chunks) {}

  // `chunk` is read by what has been queued on `copies` so far. Waits until at most two chunks are in flight.
  void add(const TensorChunk& chunk, const DeviceStream& copies);
  void wait_for_all() { wait(0); }

 private:
  struct Copy {
    TensorChunk chunk;
    std::unique_ptr<DeviceEvent> done;
  };
  void wait(std::size_t remaining);

  TensorStream& chunks_;
  std::deque<Copy> in_flight_;
};

}  // namespace shori
