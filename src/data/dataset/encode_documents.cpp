#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "shori/util/signals.h"
#include "src/data/dataset/loader.h"

namespace shori {
namespace {

// Documents handed out one by one; results stand at the documents' own places.
class DocumentQueue {
 public:
  DocumentQueue(std::vector<Document>& documents, const EncodeContext& context)
      : documents_(documents), context_(context), results_(documents.size()), failures_(documents.size()) {}

  // Encodes the next document; false when there is none left, or a stop was requested.
  bool encode_next() {
    if (stop_requested()) return false;
    const std::size_t index = next_.fetch_add(1);
    if (index >= documents_.size()) return false;
    const std::uint64_t bytes = documents_[index].content.size();
    try {
      results_[index] = encode_document(std::move(documents_[index]), context_);
    } catch (...) {
      failures_[index] = std::current_exception();
    }
    done_bytes_.fetch_add(bytes);
    return true;
  }

  std::uint64_t done_bytes() const { return done_bytes_.load(); }

  std::vector<EncodedDocument> take() {
    for (const std::exception_ptr& failure : failures_) {
      if (failure) std::rethrow_exception(failure);
    }
    return std::move(results_);
  }

 private:
  std::vector<Document>& documents_;
  const EncodeContext& context_;
  std::vector<EncodedDocument> results_;
  std::vector<std::exception_ptr> failures_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> done_bytes_{0};
};

}  // namespace

std::vector<EncodedDocument> encode_documents(std::vector<Document>& documents, const EncodeContext& context,
                                              const std::function<void(std::uint64_t)>& done) {
  DocumentQueue queue(documents, context);
  std::vector<std::jthread> helpers;
  const std::size_t wanted = std::min<std::size_t>(static_cast<std::size_t>(context.options.threads), documents.size());
  for (std::size_t i = 1; i < wanted; ++i) {
    helpers.emplace_back([&queue] {
      while (queue.encode_next()) {
      }
    });
  }
  while (queue.encode_next()) done(queue.done_bytes());
  helpers.clear();  // joins
  done(queue.done_bytes());
  throw_if_stop_requested();
  return queue.take();
}

}  // namespace shori
