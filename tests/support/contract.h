// Contracts of ops: a test breaks one rule of valid operands at a time and expects the error that names the rule.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/error.h"

namespace shori::testing {

// A matrix of zeros, aligned as a device wants it.
class Zeros : public TensorView {
 public:
  Zeros(DType type, std::int64_t row_count, std::int64_t column_count)
      : TensorView{nullptr, type, row_count, column_count, column_count},
        lines_(static_cast<std::size_t>(row_count * column_count) * size_of(type) / sizeof(Line) + 1) {
    data = lines_.data();
  }
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;

 private:
  struct alignas(64) Line {
    std::byte bytes[64] = {};
  };
  std::vector<Line> lines_;
};

// An NF4 weight of zeros with a LoRA adapter, as a group of one or more.
struct ZeroLinear {
  ZeroLinear(std::int64_t out, std::int64_t in, std::int64_t rank)
      : codes(DType::kU8, 1, out * in / 2),
        absmax(DType::kU8, 1, nf4_blocks(out * in)),
        absmax2(DType::kF32, 1, nf4_groups(nf4_blocks(out * in))),
        a(DType::kBf16, rank, in),
        b(DType::kBf16, out, rank),
        da(DType::kF32, rank, in),
        db(DType::kF32, out, rank) {}
  LinearModule module(Linear linear, std::int64_t out, std::int64_t in, int lora_index) {
    return {.weight = FrozenWeight::of({.layout = {.rows = out, .cols = in},
                                        .codes = codes.row<std::uint8_t>(0),
                                        .absmax = absmax.row<std::uint8_t>(0),
                                        .absmax2 = absmax2.row<float>(0)}),
            .linear = linear,
            .lora_index = lora_index,
            .a = a.data,
            .b_scaled = b.data,
            .da = da.row<float>(0),
            .db = db.row<float>(0)};
  }
  Zeros codes, absmax, absmax2, a, b, da, db;
};

// What every op gets. On a device the operands stay in host memory: a refused call does not read them.
struct OpOperands {
  Workspace workspace;
  OpContext context{Device::kCpu, nullptr, &workspace};
};

inline constexpr std::int64_t kTokens = 2, kColumns = 16, kRank = 4, kFused = kColumns + kLoraColumnMultiple;
inline constexpr std::int64_t kOddStride = 20;  // not a multiple of 8

// Operands of an op that reads the gradient of a group's input.
struct GradientOperands : OpOperands {
  ZeroLinear linear{8, kColumns, kRank};
  std::vector<LinearModule> modules{linear.module(Linear::kUp, 8, kColumns, 0)};
  LinearGroup group{modules, kRank, 1.0f};
  Zeros fused{DType::kBf16, kTokens, kFused}, masks{DType::kU8, kTokens, kColumns / 8};
  DropoutKey dropout{.probability = 0.1f};
  bool has_lora = true;
  std::optional<LoraInputGradient> lora() const {
    if (!has_lora) return std::nullopt;
    return LoraInputGradient{&group, dropout, masks};
  }
};

// A host's copy of integers and, if wanted, one that passes for the device's.
struct Integers {
  std::vector<std::int32_t> values;
  bool on_device = true;
  Int32Array array() const { return {values, on_device ? values.data() : nullptr}; }
};

// How to break one rule of an op's operands, and a part of the message that names it.
template <typename Operands>
struct Violation {
  const char* message;
  void (*change)(Operands&);
};

// `Operands` are valid as they are made. On the CPU the valid ones are accepted first; no op of these tests runs on a device.
template <typename Operands>
void expect_refusals(Device device, void (*run)(Operands&), const std::vector<Violation<Operands>>& violations) {
  if (device == Device::kCpu) {
    Operands valid;
    EXPECT_NO_THROW(run(valid));
  }
  for (const auto& [message, change] : violations) {
    Operands operands;
    operands.context.device = device;
    try {
      change(operands);
      run(operands);
      ADD_FAILURE() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_NE(error.diagnostics().front().message.find(message), std::string::npos)
          << message << "\n"
          << error.diagnostics().front().message;
    }
  }
}

}  // namespace shori::testing
