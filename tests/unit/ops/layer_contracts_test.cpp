// Each rule of the operands of embed, rms_norm, rope, swiglu and head_loss is broken once. The rules of a single
// matrix, which all ops share, are broken for swiglu alone (device/row_ops_test.cpp).
#include <gtest/gtest.h>

#include <vector>

#include "shori/ops/device_limits.h"
#include "shori/ops/embed.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "tests/support/contract.h"

namespace shori {
namespace {

using namespace testing;  // NOLINT: all of it is of contracts

struct Embed : OpOperands {
  Zeros table{DType::kBf16, 4, kColumns}, x{DType::kBf16, kTokens, kColumns};
  Integers ids{{0, 3}};
  static void run(Embed& o) { embed(o.context, o.table, o.ids.array(), o.x); }
};

TEST(Contracts, Embed) {
  expect_refusals<Embed>(Device::kCpu, Embed::run,
                         {{"embed needs a workspace", [](Embed& o) { o.context.workspace = nullptr; }},
                          {"embed: table must be bf16 or fp32", [](Embed& o) { o.table.dtype = DType::kI32; }},
                          {"embed: x is [3, 16]", [](Embed& o) { o.x.rows = 3; }},
                          {"token id 4 is outside", [](Embed& o) { o.ids.values[1] = 4; }},
                          {"token id -1 is outside", [](Embed& o) { o.ids.values[0] = -1; }}});
  expect_refusals<Embed>(Device::kCuda, Embed::run,
                         {{"embed: table needs columns and strides", [](Embed& o) { o.table.stride = kOddStride; }},
                          {"embed: x needs columns and strides", [](Embed& o) { o.x.stride = kOddStride; }},
                          {"embed: ids must be on the device", [](Embed& o) { o.ids.on_device = false; }}});
}

struct Norm : OpOperands {
  Zeros x{DType::kBf16, kTokens, kColumns}, delta{DType::kBf16, kTokens, kColumns}, h{DType::kBf16, kTokens, kColumns},
      weight{DType::kBf16, 1, kColumns}, y{DType::kBf16, kTokens, kColumns};
  static void run(Norm& o) { rms_norm(o.context, o.x, o.delta, o.h, o.weight, 1e-5f, o.y); }
};

TEST(Contracts, RmsNorm) {
  expect_refusals<Norm>(Device::kCpu, Norm::run,
                        {{"rms_norm needs a workspace", [](Norm& o) { o.context.workspace = nullptr; }},
                         {"rms_norm: x must be bf16 or fp32", [](Norm& o) { o.x.dtype = DType::kU8; }},
                         {"rms_norm: delta is [3, 16]", [](Norm& o) { o.delta.rows = 3; }},
                         {"rms_norm: h is [2, 8]", [](Norm& o) { o.h.cols = 8; }},
                         {"rms_norm: weight is [2, 16]", [](Norm& o) { o.weight.rows = 2; }},
                         {"rms_norm: y has the wrong dtype", [](Norm& o) { o.y.dtype = DType::kF32; }}});
  expect_refusals<Norm>(Device::kCuda, Norm::run,
                        {{"rms_norm: x needs columns", [](Norm& o) { o.x.stride = kOddStride; }},
                         {"rms_norm: delta needs columns", [](Norm& o) { o.delta.stride = kOddStride; }},
                         {"rms_norm: h needs columns", [](Norm& o) { o.h.stride = kOddStride; }},
                         {"rms_norm: weight needs columns", [](Norm& o) { o.weight.stride = kOddStride; }},
                         {"rms_norm: y needs columns", [](Norm& o) { o.y.stride = kOddStride; }},
                         {"rms_norm: rows are too long", [](Norm& o) {
                            for (TensorView* view : {&o.x, &o.delta, &o.h, &o.weight, &o.y})
                              view->cols = view->stride = kMaxNormColumns + 8;
                          }}});
}

struct NormBackward : GradientOperands {
  Zeros h{DType::kBf16, kTokens, kColumns}, weight{DType::kBf16, 1, kColumns},
      residual{DType::kBf16, kTokens, kColumns}, dh{DType::kBf16, kTokens, kColumns};
  static void run(NormBackward& o) {
    rms_norm_backward(o.context, o.h, o.weight, 1e-5f, o.fused, o.lora(), o.residual, o.dh);
  }
};

TEST(Contracts, RmsNormBackward) {
  using O = NormBackward;
  expect_refusals<O>(Device::kCpu, O::run,
                     {{"rms_norm_backward needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"rms_norm_backward: h must be bf16 or fp32", [](O& o) { o.h.dtype = DType::kI32; }},
                      {"rms_norm_backward: weight is [1, 8]", [](O& o) { o.weight.cols = 8; }},
                      {"rms_norm_backward: dh is [1, 16]", [](O& o) { o.dh.rows = 1; }},
                      {"rms_norm_backward: residual_gradient is [1, 16]", [](O& o) { o.residual.rows = 1; }},
                      {"dy does not fit h", [](O& o) { o.fused.rows = 1; }},
                      {"dy does not fit h", [](O& o) { o.fused.dtype = DType::kF32; }}});
  expect_refusals<O>(Device::kCuda, O::run,
                     {{"rms_norm_backward: h needs columns", [](O& o) { o.h.stride = kOddStride; }},
                      {"rms_norm_backward: weight needs columns", [](O& o) { o.weight.stride = kOddStride; }},
                      {"residual_gradient needs columns", [](O& o) { o.residual.stride = kOddStride; }},
                      {"rms_norm_backward: dh needs columns", [](O& o) { o.dh.stride = kOddStride; }},
                      {"rms_norm_backward: rows are too long", [](O& o) {
                         for (TensorView* view : {&o.h, &o.weight, &o.residual, &o.dh})
                           view->cols = view->stride = kMaxNormColumns + 8;
                       }}});
}

// Of all ops that read such a gradient rms_norm_backward stands here.
TEST(Contracts, GradientOfAGroupsInput) {
  using O = NormBackward;
  expect_refusals<O>(Device::kCpu, O::run,
                     {{"has too few columns", [](O& o) { o.has_lora = false, o.fused.cols = 8; }},
                      {"the LoRA group has another input size", [](O& o) { o.modules[0].weight.cols = 24; }},
                      {"the gradient of a group's input is [2, 56]", [](O& o) { o.fused.cols = o.fused.stride = 56; }},
                      {"a group with LoRA needs a rank", [](O& o) { o.group.rank = 0; }}});
  expect_refusals<O>(
      Device::kCuda, O::run,
      {{"the gradient of a group's input needs columns", [](O& o) { o.fused.stride = 52; }},
       {"the gradient has too few columns", [](O& o) { o.has_lora = false, o.fused.cols = 8; }},
       {"a module with LoRA lacks its factors", [](O& o) { o.modules[0].a = nullptr; }},
       {"the LoRA group has another input size", [](O& o) { o.modules[0].weight.cols = 24; }},
       {"the gradient of a group's input is [2, 56]", [](O& o) { o.fused.cols = o.fused.stride = 56; }},
       {"the rank is too large",
        [](O& o) { o.group.rank = kMaxDeviceRank + 8, o.fused.cols = o.fused.stride = o.group.fused_in(); }},
       {"the masks is [2, 1]", [](O& o) { o.masks.cols = 1; }},
       {"rows of the masks have gaps", [](O& o) { o.masks.stride = 3; }},
       {"too many tokens for one call", [](O& o) {
          for (TensorView* view : {&o.h, &o.residual, &o.dh, &o.fused}) view->rows = std::int64_t{1} << 31;
        }}});
}

struct SwigluBackward : GradientOperands {
  Zeros gate_up{DType::kBf16, kTokens, 2 * kColumns};
  static void run(SwigluBackward& o) { swiglu_backward(o.context, o.fused, o.lora(), o.gate_up); }
};

struct Swiglu : OpOperands {
  Zeros gate_up{DType::kBf16, kTokens, 2 * kColumns}, p{DType::kBf16, kTokens, kColumns};
  static void run(Swiglu& o) { swiglu(o.context, o.gate_up, o.p); }
};

TEST(Contracts, Swiglu) {
  using O = SwigluBackward;
  expect_refusals<Swiglu>(Device::kCpu, Swiglu::run, {{"swiglu: gate_up must have two halves", [](Swiglu& o) {
                                                         o.gate_up.cols = 2 * kColumns + 1, o.gate_up.stride = 40;
                                                       }}});
  expect_refusals<O>(Device::kCpu, O::run,
                     {{"swiglu_backward needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"swiglu_backward: gate_up must be bf16 or fp32", [](O& o) { o.gate_up.dtype = DType::kI32; }},
                      {"swiglu_backward: gate_up must have two halves", [](O& o) { o.gate_up.cols = 31; }},
                      {"dp does not fit gate_up", [](O& o) { o.fused.rows = 1; }},
                      {"dp does not fit gate_up", [](O& o) { o.fused.dtype = DType::kF32; }},
                      {"the LoRA group has another input size", [](O& o) { o.gate_up.cols = kColumns; }}});
  expect_refusals<O>(Device::kCuda, O::run,
                     {{"swiglu_backward: gate_up needs columns", [](O& o) { o.gate_up.stride = 36; }},
                      {"the gradient has too few columns", [](O& o) { o.gate_up.cols = 8; }}});
}

struct Rope : OpOperands {
  RopeTable table = make_rope_table(DType::kBf16, 8, kColumns, 1e4);
  Zeros heads{DType::kBf16, kTokens, 2 * kColumns};
  Integers positions{{0, 7}};
  bool on_device = true;
  static void run(Rope& o) {
    if (o.on_device) o.table.device_cos = o.table.cos.data(), o.table.device_sin = o.table.sin.data();
    rope(o.context, o.table, o.positions.array(), false, o.heads);
  }
};

TEST(Contracts, Rope) {
  expect_refusals<Rope>(Device::kCpu, Rope::run,
                        {{"rope needs a workspace", [](Rope& o) { o.context.workspace = nullptr; }},
                         {"rope: heads is [3, 32]", [](Rope& o) { o.heads.rows = 3; }},
                         {"rope: heads has the wrong dtype", [](Rope& o) { o.heads.dtype = DType::kF32; }},
                         {"rope: columns must be whole heads", [](Rope& o) { o.heads.cols = 24; }},
                         {"position 8 is beyond the table", [](Rope& o) { o.positions.values[0] = 8; }},
                         {"position -1 is beyond the table", [](Rope& o) { o.positions.values[1] = -1; }},
                         {"tables are bf16 or fp32", [](Rope&) { make_rope_table(DType::kU8, 8, kColumns, 1e4); }},
                         {"the head size must be even", [](Rope&) { rope_inverse_frequencies(7, 1e4); }},
                         {"the head size must be even", [](Rope&) { rope_inverse_frequencies(0, 1e4); }}});
  expect_refusals<Rope>(
      Device::kCuda, Rope::run,
      {{"rope: heads needs columns", [](Rope& o) { o.heads.stride = 36; }},
       {"rope: positions must be on the device", [](Rope& o) { o.positions.on_device = false; }},
       {"multiples of 16", [](Rope& o) { o.table = make_rope_table(DType::kBf16, 8, kColumns / 2, 1e4); }},
       {"the table is not on the device", [](Rope& o) { o.on_device = false; }}});
}

struct HeadLoss : OpOperands {
  Zeros h{DType::kBf16, kTokens, kColumns}, weight{DType::kBf16, 24, kColumns}, dh{DType::kBf16, kTokens, kColumns};
  Integers targets{{0, 23}};
  std::vector<float> losses = std::vector<float>(kTokens);
  static void run(HeadLoss& o) { head_loss(o.context, o.h, o.weight, o.targets.array(), 1.0, o.losses, o.dh); }
};

TEST(Contracts, HeadLoss) {
  using O = HeadLoss;
  expect_refusals<O>(Device::kCpu, O::run,
                     {{"head_loss needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"head_loss: h must be bf16 or fp32", [](O& o) { o.h.dtype = DType::kI32; }},
                      {"head_loss: weight is [24, 8]", [](O& o) { o.weight.cols = 8; }},
                      {"head_loss: dh is [1, 16]", [](O& o) { o.dh.rows = 1; }},
                      {"each token needs one target", [](O& o) { o.targets.values.push_back(0); }},
                      {"each token needs one target", [](O& o) { o.losses.pop_back(); }},
                      {"target 24 is outside the vocabulary", [](O& o) { o.targets.values[1] = 24; }}});
  expect_refusals<O>(Device::kCuda, O::run,
                     {{"head_loss: h needs columns", [](O& o) { o.h.stride = kOddStride; }},
                      {"head_loss: weight needs columns", [](O& o) { o.weight.stride = kOddStride; }},
                      {"head_loss: dh needs columns", [](O& o) { o.dh.stride = kOddStride; }},
                      {"vocabulary that is a multiple of 8", [](O& o) { o.weight.rows = 23, o.targets.values[1] = 0; }},
                      {"targets must be on the device", [](O& o) { o.targets.on_device = false; }}});
}

}  // namespace
}  // namespace shori
