// The trained part: two factors for each adapted linear. Source: PEFT's LoRA (names, shapes, initial distribution).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/io/mistral_config.h"
#include "shori/io/safetensors.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/op_context.h"

namespace shori {

struct LoraSettings {
  std::int64_t rank = 0;
  std::int64_t alpha = 0;
  std::array<bool, kLinearCount> targets = {true, true, true, true, true, true, true};  // in the order of kLinears

  bool has(Linear linear) const { return targets[index_of(linear)]; }
  float scaling() const { return static_cast<float>(static_cast<double>(alpha) / static_cast<double>(rank)); }
};

// Targets by name ("q_proj", ...); an unknown name is an internal error.
std::array<bool, kLinearCount> lora_targets(std::span<const std::string> names);

// One factor: fp32 master, fp32 gradient, and the copy that the matrix products use. On a device the host has a mirror
// of the master; it cannot read the gradient.
struct LoraFactor {
  std::string name;  // "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
  std::int64_t layer = 0;
  Linear linear = Linear::kQ;
  bool is_b = false;
  MirroredTensor value;  // fp32, A [rank, in], B [out, rank]
  OwnedTensor gradient;  // fp32, same shape
  OwnedTensor copy;      // activation dtype, same shape: round(A), round(alpha / rank * B)
  float copy_scale = 1.0f;

  std::int64_t count() const { return value.count(); }
  std::span<float> values() const { return {value.host().data<float>(), static_cast<std::size_t>(count())}; }
  // On the CPU only.
  std::span<float> gradients() const { return {gradient.data<float>(), static_cast<std::size_t>(count())}; }
};

class LoraAdapter {
 public:
  // `activation`: kBf16 or kF32. Values are undefined until initialize(), or until the caller filled values() and
  // called upload(). `memory`: of a device; null: the host's.
  LoraAdapter(const MistralConfig& config, const LoraSettings& settings, DType activation,
              DeviceMemory* memory = nullptr);

  // A uniform in [-1/sqrt(in), 1/sqrt(in)) (PEFT's kaiming_uniform with a = sqrt 5), B zero; then upload().
  // Element i of tensor n (number in the list of a fully adapted model: 14 * layer + 2 * module) is word i % 4 of
  // Philox4x32-10 with key = seed, counter = {i / 4, n, 0, 0xffffffff}: (2 * (word >> 8) * 2^-24 - 1) / sqrt(in).
  void initialize(const OpContext& context, std::uint64_t seed);

  // After the host changed values(): copies them to the device and rounds them into the copies.
  void upload(const OpContext& context);
  // Before the host reads values(): from the device. Queued; wait_for_device() waits for it.
  void download(const OpContext& context) const;
  // Memory traffic: the gradients are written once.
  void zero_gradients(const OpContext& context);

  // All factors in canonical order: layer, module, A before B.
  std::span<LoraFactor> factors() { return factors_; }
  std::span<const LoraFactor> factors() const { return factors_; }
  // Their fp32 masters in host memory (on a device: the mirrors) under their names, in canonical order: for files.
  std::vector<NamedArray> arrays();
  // nullptr where the module has no adapter.
  const LoraFactor* find(std::int64_t layer, Linear linear, bool is_b) const;

  const LoraSettings& settings() const { return settings_; }
  DType activation() const { return activation_; }
  std::int64_t parameter_count() const;

 private:
  LoraSettings settings_;
  DType activation_;
  std::vector<LoraFactor> factors_;
};

}  // namespace shori
