// A random group of linears with LoRA for tests on the CPU, with its dense equivalent and its dropout masks as libtorch
// tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "shori/ops/linear_group.h"
#include "shori/util/philox.h"
#include "tests/support/module_shape.h"
#include "tests/support/nf4_vectors.h"
#include "tests/support/ops_matrix.h"

namespace shori {

enum class WeightKind { kNf4, kBf16, kF32 };

// Owns everything that a LinearGroup points to.
class TestGroup {
 public:
  static constexpr float kScaling = 0.8f;

  TestGroup(DType activation, std::int64_t in, std::int64_t rank, std::vector<ModuleShape> modules, WeightKind kind,
            std::uint32_t seed)
      : activation_(activation), parts_(modules.size()) {
    int lora_count = 0;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const std::uint32_t part_seed = seed + 100 * static_cast<std::uint32_t>(i);
      make_weight(parts_[i], modules[i].out, in, kind, part_seed);
      LinearModule module;
      module.weight = parts_[i].frozen;
      module.linear = modules[i].linear;
      if (modules[i].lora) make_adapter(parts_[i], module, lora_count++, rank, part_seed);
      modules_.push_back(module);
    }
    group_ = {modules_, rank, kScaling};
  }
  TestGroup(const TestGroup&) = delete;
  TestGroup& operator=(const TestGroup&) = delete;

  const LinearGroup& group() const { return group_; }
  // The weight [out, in] as the products see it.
  at::Tensor weight(std::size_t module) const { return parts_[module].dense.doubles(); }
  at::Tensor a(std::size_t module) const { return parts_[module].a.doubles(); }
  // B' [out, rank] as the products see it.
  at::Tensor b_scaled(std::size_t module) const { return parts_[module].b_scaled.doubles(); }
  Matrix& da(std::size_t module) { return parts_[module].da; }
  Matrix& db(std::size_t module) { return parts_[module].db; }
  void clear_gradients() {
    for (Part& part : parts_) {
      part.da = Matrix(DType::kF32, part.da.rows(), part.da.cols());
      part.db = Matrix(DType::kF32, part.db.rows(), part.db.cols());
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) point_to_gradients(parts_[i], modules_[i]);
  }

 private:
  struct Part {
    FrozenWeight frozen;
    std::optional<Nf4Vectors> nf4;
    Matrix dense, a, b_scaled, da, db;
  };

  void make_weight(Part& part, std::int64_t out, std::int64_t in, WeightKind kind, std::uint32_t seed) {
    const double deviation = 1.0 / std::sqrt(static_cast<double>(in));
    part.dense = random_matrix(kind == WeightKind::kF32 ? DType::kF32 : DType::kBf16, out, in, seed, deviation);
    part.frozen = FrozenWeight::of(part.dense.dtype(), out, in, part.dense.bytes().data());
    if (kind != WeightKind::kNf4) return;
    const at::Tensor values = part.dense.tensor().to(at::kFloat).contiguous();
    part.nf4 = quantize_nf4({values.data_ptr<float>(), static_cast<std::size_t>(out * in)}, out, in);
    at::Tensor decoded = at::empty({out, in}, at::kFloat);
    dequantize_nf4(*part.nf4, 0, {decoded.data_ptr<float>(), static_cast<std::size_t>(out * in)});
    part.dense.set(decoded);
    part.frozen = FrozenWeight::of(*part.nf4);
  }

  void make_adapter(Part& part, LinearModule& module, int lora_index, std::int64_t rank, std::uint32_t seed) {
    const std::int64_t in = module.weight.cols, out = module.weight.rows;
    part.a = random_matrix(activation_, rank, in, seed + 1, 1.0 / std::sqrt(static_cast<double>(in)));
    part.b_scaled = random_matrix(activation_, out, rank, seed + 2, 0.1);
    part.da = Matrix(DType::kF32, rank, in);
    part.db = Matrix(DType::kF32, out, rank);
    module.lora_index = lora_index;
    module.a = part.a.bytes().data();
    module.b_scaled = part.b_scaled.bytes().data();
    point_to_gradients(part, module);
  }

  static void point_to_gradients(Part& part, LinearModule& module) {
    if (!module.has_lora()) return;
    module.da = part.da.view().row<float>(0);
    module.db = part.db.view().row<float>(0);
  }

  DType activation_;
  std::vector<Part> parts_;
  std::vector<LinearModule> modules_;
  LinearGroup group_;
};

// The mask of one module [rows, cols], fp64, computed from the definition of its key one element at a time: scale() where an
// element is kept, else 0.
inline at::Tensor dropout_mask(const DropoutKey& key, Linear linear, std::int64_t rows, std::int64_t cols) {
  at::Tensor mask = at::full({rows, cols}, static_cast<double>(key.scale()), at::kDouble);
  if (key.probability == 0) return mask;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t col = 0; col < cols; ++col) {
      const PhiloxWords words = philox4x32(
          key.seed, {{static_cast<std::uint32_t>(col / 8), key.first_token + static_cast<std::uint32_t>(row), key.step,
                      key.micro_batch << 16 | (key.layer * 8 + static_cast<std::uint32_t>(linear))}});
      const std::uint32_t word = words.word[col % 8 / 2];
      const std::uint32_t draw = col % 2 == 0 ? word & 0xffff : word >> 16;
      if (draw < key.threshold()) mask.data_ptr<double>()[row * cols + col] = 0.0;
    }
  }
  return mask;
}

}  // namespace shori
