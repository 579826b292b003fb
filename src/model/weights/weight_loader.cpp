// What both loaders use.
#include "src/model/weights/weight_loader.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "shori/util/error.h"
#include "src/model/weights/frozen_tensors.h"

namespace shori {

namespace {
constexpr std::align_val_t kAlignment{64};
}

PieceBuffers::PieceBuffers(bool pinned, std::size_t count, std::size_t bytes) : pinned_(pinned) {
  for (std::size_t i = 0; i < count; ++i) {
    buffers_.push_back(static_cast<std::byte*>(pinned ? pinned_allocate(bytes) : ::operator new(bytes, kAlignment)));
  }
}

PieceBuffers::~PieceBuffers() {
  for (std::byte* buffer : buffers_) {
    pinned_ ? pinned_free(buffer) : ::operator delete(buffer, kAlignment);
  }
}

StreamShape stream_shape(Device device, int threads) {
  const int readers = std::clamp(threads, 1, 4);
  const auto of_readers = static_cast<std::size_t>(readers);
  // 8 MiB keep a disk and a link busy; on the CPU a piece gives each thread 512 KiB, which fit its cache.
  if (device == Device::kCuda) return {readers, 2 * of_readers + 2, std::size_t{8} << 20};
  return {readers, of_readers + 2, (std::size_t{1} << 19) * static_cast<std::size_t>(std::clamp(threads, 1, 16))};
}

void PiecesUnderWay::add(TensorStream& pieces, const TensorPiece& piece, const DeviceStream& stream) {
  under_way_.push_back({piece, std::make_unique<DeviceEvent>()});
  under_way_.back().copied->record(stream.handle());
  settle(pieces, 2);
}

void PiecesUnderWay::settle(TensorStream& pieces, std::size_t left) {
  while (under_way_.size() > left) {
    under_way_.front().copied->synchronize();
    pieces.give_back(under_way_.front().piece);
    under_way_.pop_front();
  }
}

std::map<std::string, Place> places_of(MistralWeights& weights) {
  std::map<std::string, Place> places;
  for_each_frozen(weights, [&](const std::string& name, auto& tensor) { places.emplace(name, &tensor); });
  return places;
}

void refuse_value(const HfTensor& tensor, std::int64_t element, float value) {
  const std::string kind = std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
  throw Error(Diagnostic("E0210", "`" + tensor.name + "` holds " + kind + " at element " + std::to_string(element))
                  .note("row " + std::to_string(element / tensor.cols()) + ", column " +
                        std::to_string(element % tensor.cols()))
                  .help("get the model again from its publisher"));
}

}  // namespace shori
