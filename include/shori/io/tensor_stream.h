// Reads tensors of safetensors files once, in chunks, on its own threads, and hashes them on the way: the caller works
// on one chunk while the next ones arrive. Memory is that of the buffers, however large the files are.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "shori/io/safetensors.h"
#include "shori/util/hash.h"

namespace shori {

struct StreamedTensor {
  const SafetensorsFile* file = nullptr;
  const TensorEntry* entry = nullptr;
  std::byte* target = nullptr;  // memory for the whole tensor, into which it is then read; null: chunks come in buffers
};

struct TensorChunk {
  std::size_t tensor = 0;    // index in the list of tensors
  std::uint64_t offset = 0;  // bytes of the tensor before it
  std::uint64_t bytes = 0;
  std::byte* data = nullptr;  // the caller's until release(), which does nothing for a chunk in its tensor's target
  bool is_last = false;       // of its tensor
};

class TensorStream {
 public:
  struct Options {
    std::vector<std::byte*>
        buffers;                  // at least 2, `chunk_bytes` each; they outlive the stream. None if all have targets
    std::size_t chunk_bytes = 0;  // a multiple of 256
    int threads = 1;              // each reads and hashes one tensor after the other
    bool drop_pages = true;       // from the system's cache after reading: they are not read again
  };
  // Tensors are read in the order of the list, several at the same time. The files outlive the stream.
  TensorStream(std::vector<StreamedTensor> tensors, Options options);
  ~TensorStream();  // stops reading
  TensorStream(const TensorStream&) = delete;
  TensorStream& operator=(const TensorStream&) = delete;

  // The next chunk; those of one tensor come in order, those of different tensors mixed. nullopt after the last. Throws
  // what reading threw (E0213), and Stopped. A caller may hold all buffers but one.
  std::optional<TensorChunk> next();
  void release(const TensorChunk& chunk);

  // SHA-256 of a tensor whose last chunk was returned.
  const Sha256Digest& digest(std::size_t tensor) const { return digests_[tensor]; }

 private:
  void end();  // makes the threads return
  void work();
  void read_tensor(std::size_t index);
  std::byte* take_buffer();  // null: the stream is ending

  std::vector<StreamedTensor> tensors_;
  Options options_;
  std::vector<Sha256Digest> digests_;
  std::mutex mutex_;
  std::condition_variable buffer_free_, chunk_ready_;
  std::vector<std::byte*> free_;
  std::deque<TensorChunk> ready_;
  std::size_t next_tensor_ = 0;  // the next one that a thread will read
  std::size_t finished_ = 0;     // tensors whose last chunk is in ready_ or was returned
  std::exception_ptr failure_;
  bool ending_ = false;
  std::vector<std::jthread> threads_;  // declared last, destroyed first: they use everything above
};

}  // namespace shori
