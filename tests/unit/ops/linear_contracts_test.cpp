// Each rule of the operands of the linears, their LoRA parts, NF4 products, the optimizer and the checksum is broken once,
// and so are those of a workspace on a device.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "kernels/linear/fused_weight.h"
#include "kernels/linear/nf4_product.h"
#include "shori/ops/adamw8bit.h"
#include "shori/ops/base_checksum.h"
#include "shori/ops/decode_linear.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/grad_norm.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/nf4_matmul.h"
#include "shori/ops/nf4_quantize.h"
#include "tests/support/contract.h"

namespace shori {
namespace {

using namespace testing;  // NOLINT: all of it is of contracts

constexpr std::int64_t kIn = 64, kOut = 8, kFusedIn = kIn + kLoraColumnMultiple;

// Two linears with LoRA that share their input.
struct Linears : OpOperands {
  ZeroLinear first{kOut, kIn, kRank}, second{kOut, kIn, kRank};
  std::vector<LinearModule> modules{first.module(Linear::kK, kOut, kIn, 0), second.module(Linear::kV, kOut, kIn, 1)};
  std::int64_t rank = kRank;
  DropoutKey dropout{.probability = 0.1f};
  Zeros fused_x{DType::kBf16, kTokens, kFusedIn}, fused_dx{DType::kBf16, kTokens, kFusedIn},
      y{DType::kBf16, kTokens, 2 * kOut}, masks{DType::kU8, kTokens, 2 * kIn / 8};
  LinearGroup group() const { return {modules, rank, 1.0f}; }
  FrozenWeight& weight() { return modules[0].weight; }
  void set_rank(std::int64_t size) {
    rank = size;
    for (TensorView* view : {&fused_x, &fused_dx}) view->cols = view->stride = group().fused_in();
  }
  // Weights of one module whose outputs are not a multiple of 8.
  void set_odd_outputs() { modules[0].weight.rows = modules[1].weight.rows = 12, y.cols = y.stride = 24; }

  static void forward(Linears& o) { nf4_linear(o.context, o.group(), o.fused_x, o.y); }
  static void backward(Linears& o) { nf4_linear_backward(o.context, o.group(), o.y, o.fused_dx); }
  static void down(Linears& o) { lora_down(o.context, o.group(), o.dropout, o.fused_x); }
  static void grad_a(Linears& o) { lora_grad_a(o.context, o.group(), o.dropout, o.fused_x, o.fused_dx, o.masks); }
  static void grad_b(Linears& o) { lora_grad_b(o.context, o.group(), o.fused_x, o.y); }
  static void decode(Linears& o) { decode_linear(o.context, o.group(), o.fused_x, o.y); }
  static void fuse(Linears& o) { fused_weight(o.context, "fused_weight", o.group()); }
  static void product(Linears& o) { nf4_product(o.context, o.group(), true, o.fused_x, o.y); }
  static void matmul(Linears& o) { nf4_matmul(o.context, o.weight(), o.fused_x.slice_cols(0, kIn), o.y); }
};
using O = Linears;

TEST(Contracts, Groups) {
  expect_refusals<O>(Device::kCpu, O::forward,
                     {{"a group has 1 to 3 modules", [](O& o) { o.modules.clear(); }},
                      {"a group has 1 to 3 modules", [](O& o) { o.modules.resize(4, o.modules[0]); }},
                      {"is empty", [](O& o) { o.weight().rows = 0; }},
                      {"is empty", [](O& o) { o.modules[1].weight.cols = 0; }},
                      {"lacks codes or scales", [](O& o) { o.weight().nf4.codes = nullptr; }},
                      {"lacks codes or scales", [](O& o) { o.weight().nf4.absmax = nullptr; }},
                      {"lacks codes or scales", [](O& o) { o.weight().nf4.absmax2 = nullptr; }},
                      {"lacks codes or scales", [](O& o) { o.weight().nf4.layout.nested = false; }},
                      {"must be NF4, bf16 or fp32", [](O& o) { o.weight().dtype = DType::kI32; }},
                      {"has no memory", [](O& o) { o.weight().dtype = DType::kBf16; }},
                      {"modules of one group share their input", [](O& o) { o.modules[1].weight.cols = kIn / 2; }},
                      {"lora_index counts the modules", [](O& o) { o.modules[1].lora_index = 0; }},
                      {"lacks its factors", [](O& o) { o.modules[1].a = nullptr; }},
                      {"lacks its factors", [](O& o) { o.modules[0].b_scaled = nullptr; }},
                      {"needs a rank", [](O& o) { o.rank = 0; }}});
}

TEST(Contracts, Linear) {
  expect_refusals<O>(Device::kCpu, O::forward,
                     {{"nf4_linear needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"fused_x must be bf16 or fp32", [](O& o) { o.fused_x.dtype = DType::kI32; }},
                      {"fused_x is [2, 64]", [](O& o) { o.fused_x.cols = kIn; }},
                      {"y is [1, 16]", [](O& o) { o.y.rows = 1; }}});
  expect_refusals<O>(Device::kCuda, O::forward,
                     {{"nf4_linear: fused_x needs columns", [](O& o) { o.fused_x.stride = 100; }},
                      {"nf4_linear: y needs columns", [](O& o) { o.y.stride = kOddStride; }}});
  expect_refusals<O>(Device::kCpu, O::backward,
                     {{"nf4_linear_backward needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"nf4_linear_backward: a group has 1 to 3", [](O& o) { o.modules.clear(); }},
                      {"dy must be bf16 or fp32", [](O& o) { o.y.dtype = DType::kI32; }},
                      {"dy is [2, 8]", [](O& o) { o.y.cols = kOut; }},
                      {"fused_dx is [1, 96]", [](O& o) { o.fused_dx.rows = 1; }}});
  expect_refusals<O>(Device::kCuda, O::backward,
                     {{"nf4_linear_backward: dy needs columns", [](O& o) { o.y.stride = kOddStride; }},
                      {"nf4_linear_backward: fused_dx needs columns", [](O& o) { o.fused_dx.stride = 100; }}});
  expect_refusals<O>(
      Device::kCuda, O::fuse,
      {{"whose columns are a multiple of 8", [](O& o) { o.modules[0].weight.cols = o.modules[1].weight.cols = 60; }},
       {"NF4 and bf16 weights only", [](O& o) { o.weight().dtype = DType::kF32; }},
       {"a weight is not 16-byte aligned", [](O& o) { o.weight().nf4.codes += 8; }},
       {"a weight is too large", [](O& o) { o.weight().rows = std::int64_t{1} << 32; }}});
  expect_refusals<O>(Device::kCuda, O::product,
                     {{"too many tiles for one launch", [](O& o) { o.fused_x.rows = std::int64_t{1} << 40; }}});
}

TEST(Contracts, FewTokens) {
  expect_refusals<O>(
      Device::kCpu, O::decode,
      {{"decode_linear needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
       {"fused_x is [2, 64]", [](O& o) { o.fused_x.cols = kIn; }},
       {"decode_linear: too many tokens", [](O& o) { o.fused_x.rows = o.y.rows = kMaxDecodeTokens + 1; }}});
  expect_refusals<O>(Device::kCuda, O::decode,
                     {{"decode_linear: fused_x needs columns", [](O& o) { o.fused_x.stride = 100; }},
                      {"decode_linear: y needs columns", [](O& o) { o.y.stride = kOddStride; }}});
}

// The product of one weight; a view of the first module's outputs.
struct OneWeight : Linears {
  OneWeight() { y.cols = kOut; }
  static void run(OneWeight& o) { matmul(o); }
};

TEST(Contracts, Nf4Matmul) {
  using W = OneWeight;
  expect_refusals<W>(
      Device::kCpu, W::run,
      {{"nf4_matmul needs a workspace", [](W& o) { o.context.workspace = nullptr; }},
       {"is empty", [](W& o) { o.weight().rows = 0; }},
       {"the weight must be NF4", [](W& o) { o.weight() = FrozenWeight::of(DType::kBf16, kOut, kIn, o.y.data); }},
       {"nf4_matmul: too many tokens", [](W& o) { o.fused_x.rows = o.y.rows = kMaxNf4MatmulTokens + 1; }},
       {"x must be bf16 or fp32", [](W& o) { o.fused_x.dtype = DType::kI32; }},
       {"x is [2, 64]", [](W& o) { o.weight().cols = 2 * kIn; }},
       {"y is [1, 8]", [](W& o) { o.y.rows = 1; }}});
  expect_refusals<W>(Device::kCuda, W::run,
                     {{"nf4_matmul: x needs columns", [](W& o) { o.fused_x.stride = 100; }},
                      {"nf4_matmul: y needs columns", [](W& o) { o.y.stride = kOddStride; }},
                      {"whole quantization blocks", [](W& o) { o.weight().nf4.codes += 8; }}});
}

TEST(Contracts, LoraDown) {
  expect_refusals<O>(Device::kCpu, O::down,
                     {{"lora_down needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"lora_down: a group has 1 to 3", [](O& o) { o.modules.clear(); }},
                      {"fused_x must be bf16 or fp32", [](O& o) { o.fused_x.dtype = DType::kI32; }},
                      {"lora_down: fused_x is [2, 64]", [](O& o) { o.fused_x.cols = kIn; }}});
  expect_refusals<O>(Device::kCuda, O::down,
                     {{"lora_down: fused_x needs columns", [](O& o) { o.fused_x.stride = 100; }},
                      {"the rank is too large", [](O& o) { o.set_rank(kMaxDeviceRank + 8); }},
                      {"a factor is not 16-byte aligned",
                       [](O& o) { o.modules[1].a = static_cast<const std::byte*>(o.modules[1].a) + 8; }}});
}

TEST(Contracts, LoraGradients) {
  expect_refusals<O>(Device::kCpu, O::grad_a,
                     {{"lora_grad_a needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"lora_grad_a: a group has 1 to 3", [](O& o) { o.modules.clear(); }},
                      {"fused_x must be bf16 or fp32", [](O& o) { o.fused_x.dtype = DType::kI32; }},
                      {"lora_grad_a: fused_x is [2, 64]", [](O& o) { o.fused_x.cols = kIn; }},
                      {"lora_grad_a: fused_dx is [1, 96]", [](O& o) { o.fused_dx.rows = 1; }},
                      {"lora_grad_a: a module with LoRA lacks", [](O& o) { o.modules[1].da = nullptr; }}});
  expect_refusals<O>(Device::kCuda, O::grad_a,
                     {{"lora_grad_a: the masks is [2, 8]", [](O& o) { o.masks.cols = 8; }},
                      {"rows of the masks have gaps", [](O& o) { o.masks.stride = 24; }},
                      {"lora_grad_a: fused_x needs columns", [](O& o) { o.fused_x.stride = 100; }},
                      {"lora_grad_a: fused_dx needs columns", [](O& o) { o.fused_dx.stride = 100; }},
                      {"the rank is too large", [](O& o) { o.set_rank(kMaxDeviceRank + 8); }}});
  expect_refusals<O>(Device::kCpu, O::grad_b,
                     {{"lora_grad_b needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"lora_grad_b: a group has 1 to 3", [](O& o) { o.modules.clear(); }},
                      {"fused_x must be bf16 or fp32", [](O& o) { o.fused_x.dtype = DType::kI32; }},
                      {"lora_grad_b: fused_x is [2, 64]", [](O& o) { o.fused_x.cols = kIn; }},
                      {"lora_grad_b: dy is [1, 16]", [](O& o) { o.y.rows = 1; }},
                      {"lora_grad_b: a module with LoRA lacks", [](O& o) { o.modules[0].db = nullptr; }}});
  expect_refusals<O>(Device::kCuda, O::grad_b,
                     {{"lora_grad_b: fused_x needs columns", [](O& o) { o.fused_x.stride = 100; }},
                      {"lora_grad_b: dy needs columns", [](O& o) { o.y.stride = kOddStride; }},
                      {"outputs whose columns are a multiple of 8", [](O& o) { o.set_odd_outputs(); }},
                      {"the rank is too large", [](O& o) { o.set_rank(kMaxDeviceRank + 8); }}});
}

struct Factor : OpOperands {
  Zeros master{DType::kF32, kRank, kColumns}, out{DType::kBf16, kRank, kColumns};
  static void run(Factor& o) { round_lora_factor(o.context, o.master, 2.0f, o.out); }
};

TEST(Contracts, RoundLoraFactor) {
  expect_refusals<Factor>(Device::kCpu, Factor::run,
                          {{"round_lora_factor needs a workspace", [](Factor& o) { o.context.workspace = nullptr; }},
                           {"master has the wrong dtype", [](Factor& o) { o.master.dtype = DType::kBf16; }},
                           {"out must be bf16 or fp32", [](Factor& o) { o.out.dtype = DType::kU8; }},
                           {"out is [4, 8]", [](Factor& o) { o.out.cols = 8; }}});
  constexpr const char* kContiguous = "the copy is bf16 and rows are contiguous";
  expect_refusals<Factor>(Device::kCuda, Factor::run,
                          {{kContiguous, [](Factor& o) { o.out.dtype = DType::kF32; }},
                           {kContiguous, [](Factor& o) { o.out.stride = 24; }},
                           {kContiguous, [](Factor& o) { o.master.stride = 24; }}});
}

struct Quantize : OpOperands {
  FileDType source = FileDType::kBf16;
  Zeros values{DType::kBf16, 1, kIn}, codes{DType::kU8, 1, kIn / 2}, absmax{DType::kF32, 1, 1};
  std::int64_t count = kIn, blocks = 1;
  static void run(Quantize& o) {
    nf4_quantize(o.context, o.source, o.values.data, o.count, o.codes.row<std::uint8_t>(0), o.absmax.row<float>(0));
  }
  static void run_absmax(Quantize& o) {
    nf4_quantize_absmax(o.context, o.absmax.row<float>(0), o.blocks, o.codes.row<std::uint8_t>(0),
                        o.absmax.row<float>(0), nullptr);
  }
};

TEST(Contracts, Nf4Quantize) {
  using Q = Quantize;
  constexpr const char* kChunk = "a chunk is a multiple of 8 values";
  expect_refusals<Q>(Device::kCuda, Q::run,
                     {{"on the CPU this is Nf4Quantizer", [](Q& o) { o.context.device = Device::kCpu; }},
                      {"values must be BF16, F16 or F32", [](Q& o) { o.source = FileDType::kU8; }},
                      {kChunk, [](Q& o) { o.count = 4; }},
                      {kChunk, [](Q& o) { o.values.data = o.values.row<Bf16>(0) + 4; }},
                      {kChunk, [](Q& o) { o.codes.data = o.codes.row<std::uint8_t>(0) + 2; }}});
  expect_refusals<Q>(Device::kCuda, Q::run_absmax,
                     {{"on the CPU this is quantize_absmax", [](Q& o) { o.context.device = Device::kCpu; }},
                      {"nf4_quantize_absmax needs a workspace", [](Q& o) { o.context.workspace = nullptr; }},
                      {"a tensor without blocks", [](Q& o) { o.blocks = 0; }}});
}

struct Adam : OpOperands {
  Zeros p{DType::kF32, 1, kIn}, g{DType::kF32, 1, kIn}, m{DType::kF32, 1, kIn}, v{DType::kF32, 1, kIn};
  AdamSettings settings;
  AdamTensor tensor{.parameter = p.row<float>(0),
                    .gradient = g.row<float>(0),
                    .count = kIn,
                    .step = 1,
                    .m = m.row<float>(0),
                    .v = v.row<float>(0)};
  static void run(Adam& o) { adamw8bit(o.context, o.settings, {&o.tensor, 1}); }
};

TEST(Contracts, AdamW8bit) {
  constexpr const char* kTensor = "a tensor needs a parameter, a gradient and a step from 1";
  expect_refusals<Adam>(Device::kCpu, Adam::run,
                        {{"adamw8bit needs a workspace", [](Adam& o) { o.context.workspace = nullptr; }},
                         {"the block size must be positive", [](Adam& o) { o.settings.block_size = 0; }},
                         {kTensor, [](Adam& o) { o.tensor.parameter = nullptr; }},
                         {kTensor, [](Adam& o) { o.tensor.gradient = nullptr; }},
                         {kTensor, [](Adam& o) { o.tensor.step = 0; }},
                         {"either 8-bit or 32-bit moments", [](Adam& o) { o.tensor.v = nullptr; }}});
  expect_refusals<Adam>(Device::kCuda, Adam::run,
                        {{"unaligned memory", [](Adam& o) { ++o.tensor.parameter; }},
                         {"unaligned memory", [](Adam& o) { ++o.tensor.gradient; }},
                         {"unaligned memory", [](Adam& o) { ++o.tensor.m; }},
                         {"unaligned memory", [](Adam& o) { ++o.tensor.v; }},
                         {"unaligned memory", [](Adam& o) { o.tensor.rounded_copy = o.g.row<float>(0) + 1; }},
                         {"blocks on a device have 256 or 2048", [](Adam& o) { o.settings.block_size = 512; }},
                         {"more than 2^32 elements", [](Adam& o) { o.tensor.count = std::int64_t{1} << 33; }}});
}

struct Memory : OpOperands {
  Zeros values{DType::kF32, 1, kIn};
  const void* data = values.data;
  static void checksum(Memory& o) { base_checksum(o.context, o.data, 64); }
  static void norm(Memory& o) {
    const GradientSpan span{static_cast<const float*>(o.data), 16};
    gradient_norm(o.context, {&span, 1});
  }
};

TEST(Contracts, ChecksumAndNorm) {
  expect_refusals<Memory>(Device::kCpu, Memory::checksum,
                          {{"base_checksum needs a workspace", [](Memory& o) { o.context.workspace = nullptr; }},
                           {"base_checksum: no memory", [](Memory& o) { o.data = nullptr; }}});
  expect_refusals<Memory>(Device::kCpu, Memory::norm,
                          {{"gradient_norm needs a workspace", [](Memory& o) { o.context.workspace = nullptr; }}});
  const auto misalign = [](Memory& o) { o.data = o.values.row<float>(0) + 1; };
  expect_refusals<Memory>(Device::kCuda, Memory::checksum, {{"base_checksum: unaligned memory", misalign}});
  expect_refusals<Memory>(Device::kCuda, Memory::norm, {{"grad_norm: unaligned memory", misalign}});
}

// A region that is too small means that the memory plan was wrong.
TEST(Contracts, RegionOfAWorkspace) {
  std::array<std::byte, 1024 + RedZones::kBytes> memory;
  Workspace region(memory.data(), 1024), guarded(memory.data(), 1024, RedZones::kBytes);
  EXPECT_NO_THROW(region.take(1024));
  EXPECT_THROW(region.take(1), Error);
  EXPECT_NO_THROW(guarded.take(100));
  EXPECT_THROW(guarded.take(100), Error) << "no room for a second red zone";
}

}  // namespace
}  // namespace shori
