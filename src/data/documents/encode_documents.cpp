#include "src/data/documents/encode_documents.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "shori/util/signals.h"

namespace shori {
namespace {

// Hands the documents out one by one, and keeps what each gave at its own index.
class DocumentQueue {
 public:
  DocumentQueue(std::span<Document> documents, const EncodeContext& context)
      : documents_(documents), context_(context), notes_(documents.size()), failures_(documents.size()) {}

  // Encodes the next document; false when there is none left, or a stop was requested.
  bool encode_next() {
    if (stop_requested()) return false;
    const std::size_t index = next_.fetch_add(1);
    if (index >= documents_.size()) return false;
    const std::uint64_t bytes = documents_[index].content.size();
    try {
      notes_[index] = encode_document(documents_[index], context_);
    } catch (...) {
      failures_[index] = std::current_exception();
    }
    done_bytes_.fetch_add(bytes);
    return true;
  }

  std::uint64_t done_bytes() const { return done_bytes_.load(); }

  std::vector<EncodingNotes> take_notes() {
    for (const std::exception_ptr& failure : failures_) {
      if (failure) std::rethrow_exception(failure);
    }
    return std::move(notes_);
  }

 private:
  std::span<Document> documents_;
  const EncodeContext& context_;
  std::vector<EncodingNotes> notes_;
  std::vector<std::exception_ptr> failures_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> done_bytes_{0};
};

}  // namespace

std::vector<EncodingNotes> encode_documents(std::span<Document> documents, const EncodeContext& context,
                                            const std::function<void(std::uint64_t)>& progress) {
  DocumentQueue queue(documents, context);
  std::vector<std::jthread> helpers;
  const std::size_t wanted = std::min<std::size_t>(static_cast<std::size_t>(context.options.threads), documents.size());
  for (std::size_t i = 1; i < wanted; ++i) {
    helpers.emplace_back([&queue] {
      while (queue.encode_next()) {
      }
    });
  }
  while (queue.encode_next()) progress(queue.done_bytes());
  helpers.clear();  // joins
  progress(queue.done_bytes());
  throw_if_stop_requested();
  return queue.take_notes();
}

}  // namespace shori
