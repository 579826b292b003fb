#include "shori/io/tensor_stream.h"

#include <fcntl.h>

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/signals.h"

namespace shori {

TensorStream::TensorStream(std::vector<StreamedTensor> tensors, Options options)
    : tensors_(std::move(tensors)), options_(std::move(options)), digests_(tensors_.size()), free_(options_.buffers) {
  const bool in_place =
      std::ranges::all_of(tensors_, [](const StreamedTensor& tensor) { return tensor.target != nullptr; });
  SHORI_CHECK((in_place || free_.size() >= 2) && options_.chunk_bytes > 0 && options_.chunk_bytes % 256 == 0,
              "a tensor stream needs two buffers of whole quantization blocks");
  std::size_t threads = std::min(static_cast<std::size_t>(std::max(options_.threads, 1)), tensors_.size());
  if (!in_place) threads = std::min(threads, free_.size());
  try {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {  // those that run may wait for buffers, and are joined
    end();
    throw;
  }
}

TensorStream::~TensorStream() { end(); }

void TensorStream::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  buffer_free_.notify_all();
}

std::optional<TensorChunk> TensorStream::next() {
  std::unique_lock lock(mutex_);
  chunk_ready_.wait(lock, [this] { return !ready_.empty() || failure_ || finished_ == tensors_.size(); });
  if (failure_) std::rethrow_exception(failure_);
  if (ready_.empty()) return std::nullopt;
  const TensorChunk chunk = ready_.front();
  ready_.pop_front();
  return chunk;
}

void TensorStream::release(const TensorChunk& chunk) {
  if (tensors_[chunk.tensor].target != nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(chunk.data);
  }
  buffer_free_.notify_one();
}

std::byte* TensorStream::take_buffer() {
  std::unique_lock lock(mutex_);
  buffer_free_.wait(lock, [this] { return ending_ || !free_.empty(); });
  if (ending_) return nullptr;
  std::byte* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void TensorStream::work() {
  try {
    while (true) {
      std::size_t index = 0;
      {
        const std::lock_guard lock(mutex_);
        if (ending_ || next_tensor_ == tensors_.size()) return;
        index = next_tensor_++;
      }
      read_tensor(index);
    }
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      ending_ = true;
    }
    buffer_free_.notify_all();
    chunk_ready_.notify_all();
  }
}

void TensorStream::read_tensor(std::size_t index) {
  const auto& [file, entry, target] = tensors_[index];
  Sha256 hash;
  std::uint64_t offset = 0;
  do {
    throw_if_stop_requested();
    std::byte* buffer = target != nullptr ? target + offset : take_buffer();
    if (buffer == nullptr) return;
    const std::uint64_t bytes = std::min<std::uint64_t>(options_.chunk_bytes, entry->bytes() - offset);
    file->read(*entry, offset, buffer, bytes);
    if (options_.drop_pages) {
      (void)posix_fadvise(file->file().descriptor(), static_cast<off_t>(file->data_start() + entry->begin + offset),
                          static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
    }
    hash.update(buffer, bytes);
    const bool is_last = offset + bytes == entry->bytes();
    if (is_last) digests_[index] = hash.finish();
    {
      const std::lock_guard lock(mutex_);
      ready_.push_back({index, offset, bytes, buffer, is_last});
      finished_ += is_last ? 1 : 0;
    }
    chunk_ready_.notify_one();
    offset += bytes;
  } while (offset < entry->bytes());
}

}  // namespace shori
