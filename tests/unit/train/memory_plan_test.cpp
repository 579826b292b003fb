#include "shori/train/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "shori/util/text.h"

namespace shori {
namespace {

MemoryDemand mistral_7b(std::int64_t tokens, std::int64_t segments = 1) {
  MemoryDemand demand;
  demand.model = {.vocab_size = 32000,
                  .hidden_size = 4096,
                  .intermediate_size = 14336,
                  .layers = 32,
                  .heads = 32,
                  .kv_heads = 8,
                  .head_dim = 128,
                  .sliding_window = 0,
                  .rope_theta = 1e6,
                  .rms_norm_eps = 1e-5f};
  demand.lora = {.rank = 20, .alpha = 16};
  demand.positions = tokens;
  demand.packs = {{tokens, segments}};
  return demand;
}

std::size_t bytes_of(const MemoryPlan& plan, const std::string& category) {
  for (const DeviceArena::Line& line : plan.lines) {
    if (line.category == category) return line.bytes;
  }
  ADD_FAILURE() << "no line " << category;
  return 0;
}

MemoryPlan planned(const MemoryDemand& demand, Recompute recompute, int sm_count = 132) {
  return plan_memory(demand, CheckpointingPolicy::uniform(demand.model.layers, recompute), sm_count);
}

TEST(MemoryPlan, LinesAddUpAndAreThoseOfTheArithmetic) {
  const MemoryPlan plan = planned(mistral_7b(16384), Recompute::kAll);
  std::size_t sum = 0;
  for (const DeviceArena::Line& line : plan.lines) sum += line.bytes;
  EXPECT_EQ(sum, plan.total_bytes);
  // 6,979,321,856 weights: half a byte each, one byte a block of 64, four a group of 256 blocks.
  const std::size_t weights = 6979321856;
  EXPECT_EQ(bytes_of(plan, "linear weights, NF4"), weights / 2 + weights / 64 + weights / 64 / 256 * 4);
  EXPECT_EQ(bytes_of(plan, "embedding and head"), 2u * 32000 * 4096 * 2);
  // fp32 masters, fp32 gradients, bf16 copies of 52,428,800 parameters.
  EXPECT_EQ(bytes_of(plan, "adapter: fp32, gradients, 16-bit copies"), 52428800u * 10);
  EXPECT_EQ(bytes_of(plan, "saved activations"), std::size_t{32} * 16384 * 4096 * 2);
  // Codes, and scales of 256 elements; pieces are rounded up to 256 bytes.
  const std::size_t moments = 52428800u * 2 + 52428800u / 256 * 8;
  EXPECT_GE(bytes_of(plan, "optimizer, 8-bit moments"), moments);
  EXPECT_LE(bytes_of(plan, "optimizer, 8-bit moments"), moments + 448 * 4 * 255);
}

// Of one long sample on 82 multiprocessors a call takes two heads. Heads of 80 count as 96 in the 41 fp32 copies of dq; dq, the
// expanded dk and dv, and the copies of the output and its gradient have rows as they are.
TEST(MemoryPlan, AttentionRoundsTheHeadSizeUp) {
  MemoryDemand demand = mistral_7b(16384);
  demand.model.head_dim = 80;
  const std::size_t least = std::size_t{41} * (16384 + 128) * 2 * 96 * 4 + std::size_t{5} * 16384 * 2 * 80 * 2;
  const std::size_t planned_bytes =
      bytes_of(planned(demand, Recompute::kAll, 82), "temporaries of the attention (libtorch)");
  EXPECT_GE(planned_bytes, least);
  EXPECT_LE(planned_bytes, least + (std::size_t{24} << 20)) << "dk, dv and multiples of 2 MiB; all 32 heads take more";
}

// 16k packs recomputed in 13.5 GB on a card with 132 multiprocessors, and in 24 GiB with attention kept.
TEST(MemoryPlan, OfTheReferenceJobIsWithinItsGoals) {
  EXPECT_LE(planned(mistral_7b(16384), Recompute::kAll).total_bytes, 13'500'000'000u);
  EXPECT_LE(planned(mistral_7b(16384), Recompute::kMlp, 82).total_bytes, std::size_t{24} << 30);
}

TEST(MemoryPlan, KeepingMoreTakesWhatIsKept) {
  const MemoryDemand demand = mistral_7b(16384);
  const std::size_t tokens = 16384, layers = 32;
  const std::size_t input = bytes_of(planned(demand, Recompute::kAll), "saved activations");
  const std::size_t attention = bytes_of(planned(demand, Recompute::kMlp), "saved activations");
  const std::size_t all = bytes_of(planned(demand, Recompute::kNone), "saved activations");
  // Attention output with 32 columns of xA, h, log-sum-exp; then q, k, v, gate, up, and the tails 64, 64, 32.
  EXPECT_EQ(attention - input, layers * tokens * ((4096 + 32 + 4096) * 2 + 32 * 4));
  EXPECT_EQ(all - attention, layers * tokens * (6144 + 2 * 14336 + 64 + 64 + 32) * 2);
}

TEST(MemoryPlan, ManyShortSamplesCountWhereTheyCostMore) {
  MemoryDemand demand = mistral_7b(16384, 800);
  const std::size_t many = bytes_of(planned(demand, Recompute::kAll), "temporaries of the attention (libtorch)");
  demand.packs.push_back({16384, 5});
  EXPECT_EQ(many, bytes_of(planned(demand, Recompute::kAll), "temporaries of the attention (libtorch)"));
  demand.packs.push_back({16384, 1});
  EXPECT_GE(bytes_of(planned(demand, Recompute::kAll), "temporaries of the attention (libtorch)"), many);
}

// Whatever the card, `auto` never plans more than there is unless even nothing kept is too much, and keeps what it can.
TEST(MemoryPlan, AutoStaysWithinTheCapAndLeavesNoRoomForAnotherLayer) {
  std::mt19937 random(3);
  for (int i = 0; i < 40; ++i) {
    MemoryDemand demand = mistral_7b(1 + static_cast<std::int64_t>(random() % 40000), 1 + random() % 30);
    demand.model.layers = 2 + random() % 7;
    const std::size_t cap = (std::size_t{1} << 30) + (random() % 12) * (std::size_t{1} << 30) + random();
    const DeviceLimits limits{cap, cap, i % 2 == 0 ? 82 : 132};
    const MemoryPlan plan = plan_for(demand, ActivationMemory::kAuto, limits);
    const auto layers = static_cast<std::size_t>(demand.model.layers);
    const auto whole = static_cast<std::size_t>(std::ranges::count(plan.checkpointing.layers, Recompute::kNone));
    if (plan.checkpointing.layers.front() == Recompute::kAll) {
      EXPECT_FALSE(fits(planned(demand, Recompute::kMlp, limits.sm_count), limits));
      continue;
    }
    EXPECT_TRUE(fits(plan, limits));
    EXPECT_LE(plan.total_bytes, cap);
    if (whole == layers) continue;
    CheckpointingPolicy more = plan.checkpointing;
    more.layers[layers - whole - 1] = Recompute::kNone;
    EXPECT_FALSE(fits(plan_memory(demand, more, limits.sm_count), limits)) << i;
  }
}

constexpr std::size_t kGiB = std::size_t{1} << 30;
DeviceLimits card(std::size_t bytes) { return {bytes, bytes, 82}; }

// [W | B'] of Mistral-7B's groups: 6,144 x 4,160, 4,096 x 4,128, 28,672 x 4,160 and 4,096 x 14,368.
constexpr std::size_t kDecodedBytes = (6144u * 4160 + 4096u * 4128 + 28672u * 4160 + std::size_t{4096} * 14368) * 2;

TEST(MemoryPlan, WeightsAreDecodedOnceBeforeLayersAreKeptWhole) {
  const MemoryDemand demand = mistral_7b(16384);
  const MemoryPlan plan = plan_for(demand, ActivationMemory::kAuto, card(24 * kGiB));
  EXPECT_TRUE(plan.checkpointing.decode_once);
  EXPECT_EQ(plan.checkpointing.mlp_tile, kMlpTile);
  EXPECT_EQ(bytes_of(plan, "decoded weights of a layer"), kDecodedBytes);
  // A byte less than that takes: the weights are decoded for each product, whatever is kept.
  for (const auto& [choice, recompute] : {std::pair{ActivationMemory::kKeepAttention, Recompute::kMlp},
                                          std::pair{ActivationMemory::kRecompute, Recompute::kAll}}) {
    const MemoryPlan once = plan_for(demand, choice, card(64 * kGiB));
    EXPECT_TRUE(once.checkpointing.decode_once);
    EXPECT_EQ(once.checkpointing.mlp_tile, kMlpTile) << "longer tiles are for memory that nothing else can use";
    const MemoryPlan less = plan_for(demand, choice, card(once.total_bytes - 1));
    EXPECT_FALSE(less.checkpointing.decode_once);
    EXPECT_EQ(less.total_bytes, planned(demand, recompute, 82).total_bytes);
  }
}

TEST(MemoryPlan, SaysHowOftenEachKindOfProductDecodesTheWeights) {
  struct Case {
    MatmulKernel matmul = MatmulKernel::kAuto;
    bool quantize = true, once = true;
    const char *text, *why;
  };
  const Case cases[] = {
      {.matmul = MatmulKernel::kCublasLt, .text = "decoded once in a pass of a layer", .why = "cuBLASLt, with room"},
      {.matmul = MatmulKernel::kCublasLt, .once = false, .text = "decoded for each product", .why = "without room"},
      {.matmul = MatmulKernel::kNf4,
       .text = "decoded in each product by the NF4 kernel",
       .why = "the kernel makes no use of the room"},
      {.matmul = MatmulKernel::kNf4,
       .once = false,
       .text = "decoded in each product by the NF4 kernel",
       .why = "nor needs it"},
      {.text = "decoded once in a pass of a layer, or in each product by the NF4 kernel where that is faster",
       .why = "auto: not known before the trial pass"},
      {.once = false,
       .text = "decoded for each product, or in each product by the NF4 kernel where that is faster",
       .why = "auto without room"},
      {.matmul = MatmulKernel::kNf4,
       .quantize = false,
       .text = "joined with the adapter's once in a pass of a layer",
       .why = "dense weights, which the NF4 kernel does not take"},
  };
  for (const auto& [matmul, quantize, once, text, why] : cases) {
    MemoryDemand demand = mistral_7b(64);
    demand.model.layers = 1;
    demand.matmul = matmul;
    demand.format.quantize = quantize;
    CheckpointingPolicy policy = CheckpointingPolicy::uniform(1, Recompute::kAll);
    policy.decode_once = once;
    const MemoryPlan plan = plan_memory(demand, policy, 82);
    const std::string wanted = concat(text, ", MLP in tiles of 4,096 tokens");
    EXPECT_EQ(plan.decoding, wanted) << why;
    EXPECT_NE(memory_table(plan, card(24 * kGiB)).find(concat("frozen weights: ", wanted, "\n")), std::string::npos)
        << why;
  }
}

TEST(MemoryPlan, WhatIsLeftWithEveryLayerWholeGoesToLongerTilesOfTheMlp) {
  const auto tile = [](std::int64_t tokens, ActivationMemory choice, std::size_t bytes) {
    return plan_for(mistral_7b(tokens), choice, card(bytes)).checkpointing.mlp_tile;
  };
  EXPECT_EQ(tile(16384, ActivationMemory::kAuto, 100 * kGiB), 16384);
  EXPECT_EQ(tile(9000, ActivationMemory::kKeep, 100 * kGiB), 12288);
  EXPECT_EQ(tile(40000, ActivationMemory::kAuto, 200 * kGiB), 16384);
  EXPECT_EQ(tile(100, ActivationMemory::kAuto, 100 * kGiB), kMlpTile);
  const MemoryPlan longest = plan_for(mistral_7b(16384), ActivationMemory::kKeep, card(100 * kGiB));
  EXPECT_EQ(tile(16384, ActivationMemory::kKeep, longest.total_bytes), 16384);
  EXPECT_EQ(tile(16384, ActivationMemory::kKeep, longest.total_bytes - 1), kMlpTile);
}

TEST(MemoryPlan, WithALayerLessTilesHaveTheirUsualLength) {
  const MemoryDemand demand = mistral_7b(16384);
  const auto less = keep_one_layer_less(demand, plan_for(demand, ActivationMemory::kAuto, card(100 * kGiB)), 82);
  ASSERT_TRUE(less);
  EXPECT_EQ(less->checkpointing.mlp_tile, kMlpTile);
  EXPECT_TRUE(less->checkpointing.decode_once);
  EXPECT_EQ(std::ranges::count(less->checkpointing.layers, Recompute::kNone), 31);
}

// A short stage that fills the card before a long one: the arena stays as large as the first needs, and libtorch must
// find room beside it for the attention of the second.
TEST(MemoryPlan, StagesThatShareABaseFitTogether) {
  const DeviceLimits limits{std::size_t{24} << 30, std::size_t{24} << 30, 82};
  std::vector<MemoryDemand> demands = {mistral_7b(8192), mistral_7b(16384)};
  const auto plans = [&] {
    std::vector<MemoryPlan> both;
    for (const MemoryDemand& demand : demands) both.push_back(plan_for(demand, ActivationMemory::kAuto, limits));
    return both;
  };
  const auto held = [](const std::vector<MemoryPlan>& both) {
    const std::string attention = "temporaries of the attention (libtorch)";
    return std::max(both[0].arena_bytes, both[1].arena_bytes) +
           std::max(bytes_of(both[0], attention), bytes_of(both[1], attention)) +
           bytes_of(both[0], "driver and kernels (estimate)") + bytes_of(both[0], "reserve");
  };
  EXPECT_GT(held(plans()), limits.limit_bytes) << "planned alone they fit together anyway: this shows nothing";
  share_attention(demands, limits.sm_count);
  const std::vector<MemoryPlan> both = plans();
  for (const MemoryPlan& plan : both) EXPECT_TRUE(fits(plan, limits));
  EXPECT_LE(held(both), limits.limit_bytes);
}

TEST(MemoryPlan, GrowsWithTheTokens) {
  std::size_t before = 0;
  for (const std::int64_t tokens : {1, 15, 63, 64, 65, 4095, 4096, 4097, 16384, 131072}) {
    const std::size_t total = planned(mistral_7b(tokens), Recompute::kMlp).total_bytes;
    EXPECT_GE(total, before) << tokens;
    before = total;
  }
}

}  // namespace
}  // namespace shori
