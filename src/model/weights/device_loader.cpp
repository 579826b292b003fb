#include "src/model/weights/device_loader.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "shori/io/half_rows.h"
#include "shori/util/error.h"
#include "src/model/weights/refuse_value.h"

namespace shori {
namespace {

LoadMemory take_load_memory(const MistralConfig& config, DeviceArena& arena) {
  std::int64_t blocks = 0;
  for (const Linear linear : kLinears) {
    const LinearShape shape = shape_of(config, linear);
    blocks = std::max(blocks, nf4_blocks(shape.out * shape.in));
  }
  const StreamShape shape = stream_shape(Device::kCuda, 4);  // the largest, however many threads there are
  LoadMemory memory;
  arena.begin("loading");
  memory.staging = static_cast<std::byte*>(arena.take(shape.chunk_bytes));
  for (std::size_t i = 0; i < static_cast<std::size_t>(shape.readers) + shape.buffers; ++i) {
    memory.block_absmax.push_back(static_cast<float*>(arena.take(static_cast<std::size_t>(blocks) * sizeof(float))));
  }
  memory.findings = static_cast<Nf4Findings*>(
      arena.take(static_cast<std::size_t>(config.layers) * kLinearCount * sizeof(Nf4Findings)));
  memory.workspace_bytes = nf4_quantize_workspace_bytes(blocks);
  memory.workspace = static_cast<std::byte*>(arena.take(memory.workspace_bytes + RedZones::room_on_device));
  return memory;
}

}  // namespace

DeviceLoader::DeviceLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options,
                           TensorStream& chunks)
    : model_(model),
      weights_(weights),
      parts_(model),
      arena_(*options.arena),
      begin_(arena_.mark()),
      memory_(take_load_memory(weights.config, arena_)),
      workspace_(memory_.workspace, memory_.workspace_bytes, RedZones::room_on_device),
      in_flight_(chunks),
      free_absmax_(memory_.block_absmax) {
  SHORI_CHECK(options.activation == DType::kBf16, "activations on a device are bf16");
}

DeviceLoader::~DeviceLoader() {
  // What is queued still uses the memory; a device that fails here has failed before.
  try {
    synchronize_stream(stream_.handle());
  } catch (const Error&) {
  }
  arena_.release_to(begin_);
}

void DeviceLoader::load(const HfTensor& tensor, const WeightSlot& slot, const TensorChunk& chunk) {
  if (tensor.role != TensorRole::kValues) {
    adopt(tensor, chunk, *slot.nf4);
  } else if (slot.nf4 != nullptr) {
    quantize(tensor, chunk, *slot.nf4);
  } else {
    copy(tensor, chunk, *slot.dense);
  }
  in_flight_.add(chunk, stream_);
}

void DeviceLoader::finish() {
  std::vector<Nf4Findings> findings(quantized_.size());
  copy_to_host(findings.data(), memory_.findings, findings.size() * sizeof(Nf4Findings), stream_.handle());
  synchronize_stream(stream_.handle());
  in_flight_.wait_for_all();
  std::optional<std::size_t> bad;  // the tensor that is first in the files, as on the CPU
  for (std::size_t i = 0; i < findings.size(); ++i) {
    if (findings[i].first_bad_block >= 0 && (!bad || quantized_[i].tensor < quantized_[*bad].tensor)) bad = i;
    quantized_[i].weight->offset = findings[i].offset;
    weights_.zero_blocks += findings[i].zero_blocks;
  }
  if (bad) refuse_block(*quantized_[*bad].tensor, findings[*bad].first_bad_block);
}

// A part of a linear that is NF4 in the files.
void DeviceLoader::adopt(const HfTensor& part, const TensorChunk& chunk, Nf4Weight& weight) {
  if (part.role == TensorRole::kCodes) {
    copy_to_device(weight.codes.data<std::byte>() + chunk.offset, chunk.data, chunk.bytes, stream_.handle());
  } else if (const std::optional<Nf4Weight> scales = parts_.add(part, chunk)) {
    copy_array(scales->absmax, weight.absmax);
    copy_array(scales->absmax2, weight.absmax2);
    copy_array(scales->scales, weight.scales);
    synchronize_stream(stream_.handle());  // the arrays on the host are freed now
    weight.offset = scales->offset;
  }
}

void DeviceLoader::copy_array(const OwnedTensor& from, OwnedTensor& to) {
  SHORI_CHECK(to.bytes() == from.bytes(), "scales do not fit the memory that was planned for them");
  copy_to_device(to.data<void>(), from.data<void>(), from.bytes(), stream_.handle());
}

void DeviceLoader::quantize(const HfTensor& tensor, const TensorChunk& chunk, Nf4Weight& weight) {
  float* block_absmax = block_absmax_of(chunk.tensor);
  const auto size = static_cast<std::int64_t>(dtype_size(tensor.dtype));
  const std::int64_t first = static_cast<std::int64_t>(chunk.offset) / size,
                     count = static_cast<std::int64_t>(chunk.bytes) / size;
  const Nf4View target = weight.view();
  copy_to_device(memory_.staging, chunk.data, chunk.bytes, stream_.handle());
  nf4_quantize(context(), tensor.dtype, memory_.staging, count, target.codes + first / 2,
               block_absmax + first / kNf4BlockSize);
  if (!chunk.is_last) return;
  nf4_quantize_absmax(context(), block_absmax, target.layout.blocks(), target.absmax, target.absmax2,
                      memory_.findings + quantized_.size());
  quantized_.push_back({&tensor, &weight});
  // Kernels of the next tensor that uses this memory come later in the stream.
  free_absmax_.push_back(block_absmax);
  block_absmax_.erase(chunk.tensor);
}

// Memory for the block absmax of a tensor, from its first chunk to its last.
float* DeviceLoader::block_absmax_of(std::size_t tensor) {
  const auto [begun, is_new] = block_absmax_.try_emplace(tensor, nullptr);
  if (!is_new) return begun->second;
  SHORI_CHECK(!free_absmax_.empty(), "more tensors have begun than the stream can deliver at once");
  begun->second = free_absmax_.back();
  free_absmax_.pop_back();
  return begun->second;
}

// Values are rounded in the chunk's own memory: the activation is never wider than they are.
void DeviceLoader::copy(const HfTensor& tensor, const TensorChunk& chunk, OwnedTensor& weight) {
  const std::uint64_t size = dtype_size(tensor.dtype);
  const auto first = static_cast<std::int64_t>(chunk.offset / size);
  values_.resize(chunk.bytes / size);
  widen_values(tensor.dtype, chunk.data, values_.size(), values_.data());
  refuse_non_finite(tensor, first, values_);
  auto* rounded = reinterpret_cast<Bf16*>(chunk.data);
  if (tensor.dtype != FileDType::kBf16) std::ranges::transform(values_, rounded, to_bf16);
  copy_to_device(weight.data<Bf16>() + first, rounded, values_.size() * sizeof(Bf16), stream_.handle());
}

// Reads the block again to name its value.
void DeviceLoader::refuse_block(const HfTensor& tensor, std::int64_t block) const {
  const std::int64_t first = block * kNf4BlockSize, remaining = tensor.rows() * tensor.cols() - first;
  const auto count = static_cast<std::size_t>(std::min<std::int64_t>(kNf4BlockSize, remaining));
  const std::uint64_t size = dtype_size(tensor.dtype);
  std::vector<std::byte> bytes(count * size);
  std::vector<float> values(count);
  model_.read_bytes(tensor, static_cast<std::uint64_t>(first) * size, bytes.data(), bytes.size());
  widen_values(tensor.dtype, bytes.data(), count, values.data());
  refuse_non_finite(tensor, first, values);
  SHORI_CHECK(false, "the device found NaN or Inf in " + tensor.name + ", its file holds none");
}

void plan_load_memory(const MistralConfig& config, DeviceArena& arena) {
  const DeviceArena::Mark begin = arena.mark();
  take_load_memory(config, arena);
  arena.release_to(begin);
}

}  // namespace shori
