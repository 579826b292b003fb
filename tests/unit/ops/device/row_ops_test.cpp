// Embedding, RoPE and SwiGLU on the device against the CPU versions.
#include <gtest/gtest.h>

#include "shori/ops/embed.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::normal_bf16;
using testing::TwinMatrix;

using RowOpsDevice = DeviceTest;

struct Shape {
  const char* why;
  std::int64_t tokens, cols;
};

std::size_t size_of_rows(std::int64_t rows, std::int64_t stride) { return static_cast<std::size_t>(rows * stride); }

// Values that an op must not touch where they lie past the end of a row.
std::vector<Bf16> marked(std::int64_t rows, std::int64_t stride) {
  return std::vector<Bf16>(size_of_rows(rows, stride), Bf16{0x1234});
}

TEST_F(RowOpsDevice, EmbedCopiesRows) {
  for (const auto& [why, tokens, cols] : {Shape{.why = "one vector", .tokens = 1, .cols = 8},
                                          Shape{.why = "a row of one thread block", .tokens = 15, .cols = 2048},
                                          Shape{.why = "a cut thread block", .tokens = 65, .cols = 264},
                                          Shape{.why = "a row of two thread blocks", .tokens = 3, .cols = 4096}}) {
    SCOPED_TRACE(why);
    constexpr std::int64_t kVocabulary = 50;
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<std::int32_t>((i * 37 + 49) % kVocabulary));
    const DeviceArray<std::int32_t> device_ids(ids);
    TwinMatrix<Bf16> table(kVocabulary, cols, normal_bf16(size_of_rows(kVocabulary, cols), 1));
    TwinMatrix<Bf16> x(tokens, cols, marked(tokens, cols + 32), cols + 32);
    embed(cpu(), table.host(), ids, x.host());
    for_each_schedule([&] {
      embed(device(kSmallWorkspace), table.device(), {ids, device_ids.get()}, x.device());
      ASSERT_EQ(x.device_values(), x.host_values());
    });
  }
}

struct RopeCase {
  const char* why;
  std::int64_t tokens, head_dim, heads, gap = 0;  // gap: elements between rows
  bool inverse = false;
};

TEST_F(RowOpsDevice, RopeEqualsTheCpuToTheBit) {
  constexpr std::int64_t kPositions = 300;
  for (const RopeCase& shape :
       {RopeCase{.why = "the smallest head", .tokens = 1, .head_dim = 16, .heads = 1},
        RopeCase{.why = "Mistral's head size", .tokens = 15, .head_dim = 128, .heads = 10, .gap = 64},
        RopeCase{.why = "fewer vectors than a warp has lanes; inverse",
                 .tokens = 65,
                 .head_dim = 16,
                 .heads = 3,
                 .gap = 8,
                 .inverse = true},
        RopeCase{.why = "q and k heads of Mistral inside qkv; inverse",
                 .tokens = 3,
                 .head_dim = 128,
                 .heads = 40,
                 .gap = 1024,
                 .inverse = true},
        RopeCase{.why = "more vectors than a thread block has threads", .tokens = 2, .head_dim = 128, .heads = 96}}) {
    SCOPED_TRACE(shape.why);
    RopeTable table = make_rope_table(DType::kBf16, kPositions, shape.head_dim, 1e6);
    const auto upload = [](const std::vector<std::byte>& bytes) { return DeviceArray<std::byte>(bytes); };
    const DeviceArray<std::byte> cos = upload(table.cos), sin = upload(table.sin);
    table.device_cos = cos.get();
    table.device_sin = sin.get();
    std::vector<std::int32_t> positions;
    for (std::int64_t i = 0; i < shape.tokens; ++i)
      positions.push_back(static_cast<std::int32_t>((i * 71 + kPositions - 1) % kPositions));
    const DeviceArray<std::int32_t> device_positions(positions);
    const std::int64_t cols = shape.heads * shape.head_dim, stride = cols + shape.gap;
    const std::vector<Bf16> before = normal_bf16(size_of_rows(shape.tokens, stride), 2);
    TwinMatrix<Bf16> expected(shape.tokens, cols, before, stride);
    rope(cpu(), table, positions, shape.inverse, expected.host());
    ASSERT_NE(expected.host_values(), before);
    for_each_schedule([&] {
      TwinMatrix<Bf16> heads(shape.tokens, cols, before, stride);
      rope(device(kSmallWorkspace), table, {positions, device_positions.get()}, shape.inverse, heads.device());
      ASSERT_EQ(heads.device_values(), expected.host_values());
    });
  }
}

TEST_F(RowOpsDevice, SwigluMatchesCpuOnOddShapes) {
  for (const auto& [why, tokens, cols] :
       {Shape{.why = "one vector", .tokens = 1, .cols = 8},
        Shape{.why = "one vector more than a thread block", .tokens = 15, .cols = 2056},
        Shape{.why = "a cut thread block", .tokens = 63, .cols = 264},
        Shape{.why = "Mistral's feed-forward size", .tokens = 2, .cols = 14336}}) {
    SCOPED_TRACE(why);
    TwinMatrix<Bf16> gate_up(tokens, 2 * cols, normal_bf16(size_of_rows(tokens, 2 * cols + 8), 3, 4.0f), 2 * cols + 8);
    TwinMatrix<Bf16> p(tokens, cols, marked(tokens, cols + 24), cols + 24);
    swiglu(cpu(), gate_up.host(), p.host());
    for_each_schedule([&] {
      swiglu(device(kSmallWorkspace), gate_up.device(), p.device());
      const auto got = p.device_values();
      std::size_t differing = 0;
      // The two expf may be some ulps of fp32 apart, which can move silu across a tie of bf16, by one ulp. That is up to two
      // ulps of the product. It is rare, because 16 bits of fp32 lie between two ties.
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_LE(testing::bf16_ulps(got[i], p.host_values()[i]), 2.0f) << i;
        differing += got[i] == p.host_values()[i] ? 0 : 1;
      }
      ASSERT_LE(differing, got.size() / 1000);
    });
  }
}

TEST_F(RowOpsDevice, SwigluKeepsExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Bf16> values;
  for (const float gate : {0.0f, -0.0f, 90.0f, -90.0f, 200.0f, -200.0f, 1e-30f, kInfinity})
    values.push_back(to_bf16(gate));
  for (int i = 0; i < 8; ++i) values.push_back(to_bf16(i % 2 == 0 ? 1.5f : -1.5f));
  TwinMatrix<Bf16> gate_up(1, 16, values), p(1, 8, std::vector<Bf16>(8));
  swiglu(cpu(), gate_up.host(), p.host());
  swiglu(device(kSmallWorkspace), gate_up.device(), p.device());
  EXPECT_EQ(p.device_values(), p.host_values());
}

TEST_F(RowOpsDevice, WrongOperandsAreRefused) {
  TwinMatrix<float> wide(2, 16, std::vector<float>(32));
  TwinMatrix<Bf16> odd(2, 12, std::vector<Bf16>(24)), half(2, 6, std::vector<Bf16>(12)),
      table(4, 16, std::vector<Bf16>(64)), x(2, 16, std::vector<Bf16>(32));
  const std::vector<std::int32_t> ids{0, 1};
  TwinMatrix<float> wide_out(2, 8, std::vector<float>(16));
  EXPECT_ANY_THROW(swiglu(device(kSmallWorkspace), wide.device(), wide_out.device())) << "fp32 on a device";
  EXPECT_ANY_THROW(swiglu(device(kSmallWorkspace), odd.device(), half.device())) << "columns not in multiples of 8";
  EXPECT_ANY_THROW(embed(device(kSmallWorkspace), table.device(), ids, x.device())) << "ids on the host alone";
  const RopeTable rope_table = make_rope_table(DType::kBf16, 4, 16, 1e4);
  const DeviceArray<std::int32_t> device_ids(ids);
  EXPECT_ANY_THROW(rope(device(kSmallWorkspace), rope_table, {ids, device_ids.get()}, false, x.device()))
      << "table on the host alone";
}

// One violation at a time; swiglu takes [2, 32] and gives [2, 16].
TEST_F(RowOpsDevice, EachRuleOfAnOperandIsChecked) {
  TwinMatrix<Bf16> gate_up(2, 32, std::vector<Bf16>(2 * 48), 48), p(2, 16, std::vector<Bf16>(2 * 32), 32);
  const auto run = [&](const auto& change) {
    TensorView in = gate_up.device(), out = p.device();
    OpContext context = device(kSmallWorkspace);
    change(context, in, out);
    swiglu(context, in, out);
  };
  EXPECT_NO_THROW(run([](OpContext&, TensorView&, TensorView&) {}));
  const auto refuses = [&](const char* part, const auto& change) {
    try {
      run(change);
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(error.diagnostics().front().message.find(part), std::string::npos)
          << part << ": " << error.diagnostics().front().message;
    }
  };
  const auto misaligned = "columns and strides that are multiples of 8 on a device";
  refuses(misaligned, [](OpContext&, TensorView& in, TensorView&) { in.stride = 44; });
  refuses(misaligned, [](OpContext&, TensorView&, TensorView& out) { out.stride = 20; });
  refuses(misaligned, [](OpContext&, TensorView& in, TensorView&) { in.data = static_cast<std::byte*>(in.data) + 8; });
  refuses(misaligned,
          [](OpContext&, TensorView&, TensorView& out) { out.data = static_cast<std::byte*>(out.data) + 2; });
  refuses(misaligned, [](OpContext&, TensorView& in, TensorView& out) { in.cols = 24, out.cols = 12; });
  refuses("rows that overlap", [](OpContext&, TensorView& in, TensorView&) { in.stride = 24; });
  refuses("rows that overlap", [](OpContext&, TensorView&, TensorView& out) { out.stride = 8; });
  refuses("wrong dtype", [](OpContext&, TensorView&, TensorView& out) { out.dtype = DType::kF32; });
  refuses("must be bf16 or fp32", [](OpContext&, TensorView& in, TensorView&) { in.dtype = DType::kI32; });
  refuses("must be [2, 16]", [](OpContext&, TensorView&, TensorView& out) { out.rows = 1; });
  refuses("has no memory", [](OpContext&, TensorView&, TensorView& out) { out.data = nullptr; });
  refuses("needs a workspace", [](OpContext& context, TensorView&, TensorView&) { context.workspace = nullptr; });
}

}  // namespace
}  // namespace shori
