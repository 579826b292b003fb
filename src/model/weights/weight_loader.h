// Where the pieces of a model's tensors go: host memory, or memory of a device that was made before.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/io/tensor_stream.h"
#include "shori/model/load_mistral.h"
#include "shori/model/mistral_weights.h"
#include "shori/ops/nf4_quantize.h"

namespace shori {

// Page-locked or plain memory for the pieces of a stream.
class PieceBuffers {
 public:
  PieceBuffers(bool pinned, std::size_t count, std::size_t bytes);
  ~PieceBuffers();
  PieceBuffers(const PieceBuffers&) = delete;
  PieceBuffers& operator=(const PieceBuffers&) = delete;
  const std::vector<std::byte*>& all() const { return buffers_; }

 private:
  bool pinned_;
  std::vector<std::byte*> buffers_;
};

// Threads that read, buffers they fill, and bytes of one, for weights that go to `device`.
struct StreamShape {
  int readers = 1;
  std::size_t buffers = 2, piece_bytes = 0;
};
StreamShape stream_shape(Device device, int threads);

// Pieces whose copies to the device are under way; they go back to their stream when those have happened.
class PiecesUnderWay {
 public:
  // `piece` is read by what `stream` holds so far.
  void add(TensorStream& pieces, const TensorPiece& piece, const DeviceStream& stream);
  void settle(TensorStream& pieces, std::size_t left);  // waits until at most `left` are under way

 private:
  struct UnderWay {
    TensorPiece piece;
    std::unique_ptr<DeviceEvent> copied;
  };
  std::deque<UnderWay> under_way_;
};

// A tensor's place among the weights.
using Place = std::variant<OwnedTensor*, LinearWeight*>;
std::map<std::string, Place> places_of(MistralWeights& weights);

// E0210: `value` stands at `element` of the tensor.
[[noreturn]] void refuse_value(const HfTensor& tensor, std::int64_t element, float value);

class WeightLoader {
 public:
  virtual ~WeightLoader() = default;
  // The next piece of a tensor; given back to the stream now or later.
  virtual void take(const HfTensor& tensor, Place place, const TensorPiece& piece, TensorStream& pieces) = 0;
  // After the last piece of the last tensor: everything is where it should be.
  virtual void finish(TensorStream& pieces) = 0;
};
// `model` and `weights` outlive the loader.
std::unique_ptr<WeightLoader> make_host_loader(const HfModel& model, MistralWeights& weights,
                                               const LoadOptions& options);
std::unique_ptr<WeightLoader> make_device_loader(const HfModel& model, MistralWeights& weights,
                                                 const LoadOptions& options);

// Memory of the arena that make_device_loader takes beside the weights, until they are loaded: for the plan.
void plan_load_memory(const MistralConfig& config, DeviceArena& arena);

}  // namespace shori
