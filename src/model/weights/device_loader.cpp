// Weights to a device: pieces are copied as the file has them and quantized there, while the next ones are read.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "shori/ops/nf4_quantize.h"
#include "shori/quant/nf4_levels.h"
#include "shori/util/error.h"
#include "src/model/weights/quantized_parts.h"
#include "src/model/weights/weight_loader.h"

namespace shori {
namespace {

std::int64_t blocks_of(const LinearShape& shape) { return (shape.out * shape.in + kNf4BlockSize - 1) / kNf4BlockSize; }

// Device memory beside the weights. One staging buffer is enough: its next copy waits, in the stream, for the kernel
// that reads it.
struct LoadMemory {
  std::byte* staging = nullptr;      // one piece
  std::vector<float*> block_absmax;  // of each tensor that has begun: at most one a reader and one a buffer
  Nf4Findings* findings = nullptr;   // [layers * kLinearsOfLayer]
  std::byte* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

LoadMemory load_memory_of(const MistralConfig& config, DeviceArena& arena) {
  std::int64_t blocks = 0;
  for (int module = 0; module < kLinearsOfLayer; ++module) {
    blocks = std::max(blocks, blocks_of(linear_shape(config, module)));
  }
  const StreamShape shape = stream_shape(Device::kCuda, 4);  // the most, whatever the threads are
  LoadMemory memory;
  arena.begin("loading");
  memory.staging = static_cast<std::byte*>(arena.take(shape.piece_bytes));
  for (std::size_t i = 0; i < static_cast<std::size_t>(shape.readers) + shape.buffers; ++i) {
    memory.block_absmax.push_back(static_cast<float*>(arena.take(static_cast<std::size_t>(blocks) * sizeof(float))));
  }
  memory.findings = static_cast<Nf4Findings*>(
      arena.take(static_cast<std::size_t>(config.layers * kLinearsOfLayer) * sizeof(Nf4Findings)));
  memory.workspace_bytes = nf4_quantize_workspace_bytes(blocks);
  memory.workspace = static_cast<std::byte*>(arena.take(memory.workspace_bytes));
  return memory;
}

class DeviceLoader : public WeightLoader {
 public:
  DeviceLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options)
      : model_(model),
        weights_(weights),
        parts_(model, weights.config.plain_scales),
        arena_(*options.arena),
        begin_(arena_.mark()),
        memory_(load_memory_of(weights.config, arena_)),
        workspace_(memory_.workspace, memory_.workspace_bytes),
        free_absmax_(memory_.block_absmax) {}
  ~DeviceLoader() override {
    // What is queued still uses the memory; a device that fails here has failed before.
    try {
      synchronize_stream(stream_.handle());
    } catch (const Error&) {
    }
    arena_.release_to(begin_);
  }

  void take(const HfTensor& tensor, Place place, const TensorPiece& piece, TensorStream& pieces) override {
    LinearWeight** linear = std::get_if<LinearWeight*>(&place);
    DeviceNf4* nf4 = linear != nullptr ? std::get_if<DeviceNf4>(*linear) : nullptr;
    if (tensor.role != TensorRole::kValues) {
      adopt(tensor, piece, *nf4);
    } else if (nf4 != nullptr) {
      quantize(tensor, piece, *nf4);
    } else {
      copy(tensor, piece, linear != nullptr ? std::get<OwnedTensor>(**linear) : *std::get<OwnedTensor*>(place));
    }
    under_way_.add(pieces, piece, stream_);
  }

  void finish(TensorStream& pieces) override {
    std::vector<Nf4Findings> findings(quantized_.size());
    copy_to_host(findings.data(), memory_.findings, findings.size() * sizeof(Nf4Findings), stream_.handle());
    synchronize_stream(stream_.handle());
    under_way_.settle(pieces, 0);
    std::optional<std::size_t> bad;  // the tensor that is first in the files, as on the CPU
    for (std::size_t i = 0; i < findings.size(); ++i) {
      if (findings[i].first_bad_block >= 0 && (!bad || quantized_[i].tensor < quantized_[*bad].tensor)) bad = i;
      quantized_[i].place->offset = findings[i].offset;
      weights_.zero_blocks += findings[i].zero_blocks;
    }
    if (bad) refuse_block(*quantized_[*bad].tensor, findings[*bad].first_bad_block);
  }

 private:
  struct Quantized {
    const HfTensor* tensor;
    DeviceNf4* place;
  };

  OpContext context() { return {.device = Device::kCuda, .stream = stream_.handle(), .workspace = &workspace_}; }

  // A part of a linear that is NF4 in the files.
  void adopt(const HfTensor& part, const TensorPiece& piece, DeviceNf4& place) {
    if (part.role == TensorRole::kCodes) {
      copy_to_device(place.codes.data<std::byte>() + piece.offset, piece.data, piece.bytes, stream_.handle());
    } else if (const std::optional<Nf4Scales> scales = parts_.take(part, piece)) {
      copy_array(scales->absmax, place.absmax);
      copy_array(scales->absmax2, place.absmax2);
      copy_array(scales->scales, place.scales);
      place.offset = scales->offset;
    }
  }

  // Small arrays that go when this returns.
  template <typename T>
  void copy_array(const std::vector<T>& from, OwnedTensor& to) {
    SHORI_CHECK(to.bytes() == from.size() * sizeof(T), "scales do not fit the memory that was planned for them");
    copy_to_device(to.data<void>(), from.data(), to.bytes(), stream_.handle());
    synchronize_stream(stream_.handle());
  }

  void quantize(const HfTensor& tensor, const TensorPiece& piece, DeviceNf4& place) {
    const auto begun = block_absmax_.try_emplace(piece.tensor, nullptr).first;
    float*& block_absmax = begun->second;
    if (block_absmax == nullptr) {
      SHORI_CHECK(!free_absmax_.empty(), "more tensors have begun than the stream can deliver at once");
      block_absmax = free_absmax_.back();
      free_absmax_.pop_back();
    }
    const auto size = static_cast<std::int64_t>(dtype_size(tensor.dtype));
    const std::int64_t first = static_cast<std::int64_t>(piece.offset) / size,
                       count = static_cast<std::int64_t>(piece.bytes) / size;
    copy_to_device(memory_.staging, piece.data, piece.bytes, stream_.handle());
    nf4_quantize(context(), tensor.dtype, memory_.staging, count, place.codes.data<std::uint8_t>() + first / 2,
                 block_absmax + first / kNf4BlockSize);
    if (!piece.is_last) return;
    nf4_quantize_absmax(context(), block_absmax, place.absmax.count(), place.absmax.data<std::uint8_t>(),
                        place.absmax2.data<float>(), memory_.findings + quantized_.size());
    quantized_.push_back({&tensor, &place});
    // The next tensor's kernels come behind in the stream.
    free_absmax_.push_back(block_absmax);
    block_absmax_.erase(begun);
  }

  // Rounded in the piece's own memory: the activation is never wider than the file's values.
  void copy(const HfTensor& tensor, const TensorPiece& piece, OwnedTensor& place) {
    const std::uint64_t size = dtype_size(tensor.dtype);
    const auto first = static_cast<std::int64_t>(piece.offset / size);
    values_.resize(piece.bytes / size);
    widen_values(tensor.dtype, piece.data, values_.size(), values_.data());
    const auto bad = std::ranges::find_if(values_, [](float value) { return !std::isfinite(value); });
    if (bad != values_.end()) refuse_value(tensor, first + (bad - values_.begin()), *bad);
    auto* rounded = reinterpret_cast<Bf16*>(piece.data);
    if (tensor.dtype != FileDType::kBf16) std::ranges::transform(values_, rounded, to_bf16);
    copy_to_device(place.data<Bf16>() + first, rounded, values_.size() * sizeof(Bf16), stream_.handle());
  }

  [[noreturn]] void refuse_block(const HfTensor& tensor, std::int64_t block) const {
    const std::int64_t first = block * kNf4BlockSize, all = tensor.rows() * tensor.cols();
    const auto count = static_cast<std::size_t>(std::min<std::int64_t>(kNf4BlockSize, all - first));
    const std::uint64_t size = dtype_size(tensor.dtype);
    std::vector<std::byte> bytes(count * size);
    std::vector<float> values(count);
    model_.read_bytes(tensor, static_cast<std::uint64_t>(first) * size, bytes.data(), bytes.size());
    widen_values(tensor.dtype, bytes.data(), count, values.data());
    const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
    SHORI_CHECK(bad != values.end(), "the device found NaN or Inf in " + tensor.name + ", its file holds none");
    refuse_value(tensor, first + (bad - values.begin()), *bad);
  }

  const HfModel& model_;
  MistralWeights& weights_;
  QuantizedParts parts_;
  DeviceArena& arena_;
  DeviceArena::Mark begin_;
  LoadMemory memory_;
  Workspace workspace_;
  DeviceStream stream_;
  PiecesUnderWay under_way_;
  std::vector<float*> free_absmax_;
  std::map<std::size_t, float*> block_absmax_;  // of the tensors that have begun
  std::vector<Quantized> quantized_;            // in the order of the findings
  std::vector<float> values_;                   // of a dense piece
};

}  // namespace

std::unique_ptr<WeightLoader> make_device_loader(const HfModel& model, MistralWeights& weights,
                                                 const LoadOptions& options) {
  SHORI_CHECK(options.activation == DType::kBf16, "activations on a device are bf16");
  return std::make_unique<DeviceLoader>(model, weights, options);
}

void plan_load_memory(const MistralConfig& config, DeviceArena& arena) {
  const DeviceArena::Mark begin = arena.mark();
  load_memory_of(config, arena);
  arena.release_to(begin);
}

}  // namespace shori
