#include "shori/infer/cached_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>

#include "shori/ops/op_profile.h"
#include "tests/support/thread_count.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

constexpr std::int64_t kContext = 1024;

// A tiny model in fp32 with an adapter.
struct Tiny {
  explicit Tiny(MistralConfig config = tiny_config())
      : adapter(config, {.rank = 8, .alpha = 16}, DType::kF32), model(tiny_weights(config, DType::kF32), &adapter) {
    randomize(adapter, model.ops());
  }
  LoraAdapter adapter;
  Mistral model;
};

std::vector<std::int32_t> ids_of(std::int64_t length, unsigned seed = 4) {
  return random_samples({length}, tiny_config().vocab_size, seed).front();
}
std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }
std::span<const std::int32_t> first(std::span<const std::int32_t> ids, std::size_t count) { return ids.first(count); }

// The logits after a prompt, and after each of some more ids.
std::vector<std::vector<float>> run(CachedModel& model, std::span<const std::int32_t> ids, std::size_t prompt) {
  std::vector<std::vector<float>> logits = {copy_of(model.prefill(ids.first(prompt), {}))};
  for (const std::int32_t id : ids.subspan(prompt)) logits.push_back(copy_of(model.append(id)));
  return logits;
}

class CachedModelWindow : public testing::TestWithParam<std::int64_t> {};

TEST_P(CachedModelWindow, AThousandTokensAreWhatAPassWithoutCacheGives) {
  MistralConfig config = tiny_config();
  config.sliding_window = GetParam();
  Tiny tiny(config);
  const std::vector<std::int32_t> ids = ids_of(1000);
  constexpr std::size_t kPrompt = 300;
  const std::vector<float> whole = tiny.model.logits(ids);
  CachedModel cached(tiny.model, kContext);
  const std::vector<std::vector<float>> logits = run(cached, ids, kPrompt);
  ASSERT_EQ(logits.size(), ids.size() - kPrompt + 1);
  const auto vocab = static_cast<std::size_t>(config.vocab_size);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::span expected = std::span(whole).subspan((kPrompt - 1 + i) * vocab, vocab);
    float largest = 0, difference = 0;
    for (std::size_t j = 0; j < vocab; ++j) {
      largest = std::max(largest, std::fabs(expected[j]));
      difference = std::max(difference, std::fabs(expected[j] - logits[i][j]));
    }
    ASSERT_LE(difference, 1e-5f * largest) << "token " << kPrompt + i;
    ASSERT_EQ(std::ranges::max_element(logits[i]) - logits[i].begin(),
              std::ranges::max_element(expected) - expected.begin());
  }
}
INSTANTIATE_TEST_SUITE_P(Windows, CachedModelWindow, testing::Values(0, 100, 400));

TEST(CachedModel, EarlierPromptsAndRepliesChangeNoBit) {
  Tiny tiny;
  const std::vector<std::int32_t> ids = ids_of(420), other = ids_of(200, 5);
  CachedModel cached(tiny.model, kContext);
  run(cached, ids, 390);  // ids 384 .. 419 are in the cache, but not as chunks of a prompt compute them
  const std::vector<float> again = copy_of(cached.prefill(ids, {}));
  cached.prefill(first(ids, 256), {});  // ends with a chunk
  std::vector<std::int32_t> mixed = ids;
  std::ranges::copy(other, mixed.begin() + 130);
  const std::vector<float> after_common_chunk = copy_of(cached.prefill(mixed, {}));
  const auto fresh = [&](std::span<const std::int32_t> prompt) {
    Tiny another;
    CachedModel model(another.model, kContext);
    return copy_of(model.prefill(prompt, {}));
  };
  EXPECT_EQ(again, fresh(ids));
  EXPECT_EQ(after_common_chunk, fresh(mixed));
  EXPECT_EQ(copy_of(cached.prefill(first(mixed, 256), {})), fresh(first(mixed, 256)));
  EXPECT_EQ(copy_of(cached.prefill(first(mixed, 1), {})), fresh(first(mixed, 1)));
}

TEST(CachedModel, AChunkThatIsThereIsNotComputedAgain) {
  Tiny tiny;
  CachedModel cached(tiny.model, kContext);
  const std::vector<std::int32_t> ids = ids_of(400);
  const auto asked = [&](std::span<const std::int32_t> prompt) {
    int count = 0;
    cached.prefill(prompt, [&] { return ++count < 0; });
    return count / static_cast<int>(tiny.model.layer_count());
  };
  EXPECT_EQ(asked(ids), 4);
  EXPECT_EQ(asked(ids), 1);
  EXPECT_EQ(asked(first(ids, 384)), 1);
  EXPECT_EQ(asked(first(ids, 100)), 1);
  EXPECT_EQ(asked(ids), 4);
}

// How often each op runs.
std::map<std::string, std::int64_t> calls_of(Mistral& model, const std::function<void()>& work) {
  OpProfile profile(Device::kCpu, nullptr);
  model.set_profile(&profile);
  work();
  model.set_profile(nullptr);
  std::map<std::string, std::int64_t> calls;
  for (const OpProfile::Line& line : profile.lines()) calls[line.op] = line.calls;
  return calls;
}

// decode_linear takes 8 tokens at most, so it has not read the prompt again.
TEST(CachedModel, ATokenTakesTheOpsOfDecoding) {
  Tiny tiny;
  CachedModel cached(tiny.model, kContext);
  const std::int64_t layers = tiny.model.layer_count();
  auto prompt = calls_of(tiny.model, [&] { cached.prefill(ids_of(100), {}); });
  EXPECT_EQ(prompt["cached_attention"], layers);
  EXPECT_EQ(prompt["nf4_linear"], 4 * layers);
  EXPECT_EQ(prompt["decode_linear"], 1) << "logits of the last token";
  auto token = calls_of(tiny.model, [&] { cached.append(7); });
  EXPECT_EQ(token["cached_attention"], layers);
  EXPECT_EQ(token["decode_linear"], 4 * layers + 1);
  for (const char* op : {"attention", "nf4_linear", "lora_down"}) EXPECT_EQ(token[op], 0) << op;
}

TEST(CachedModel, StopsBetweenLayersAndGoesOnLater) {
  Tiny tiny;
  CachedModel cached(tiny.model, kContext);
  const std::vector<std::int32_t> ids = ids_of(400);
  const std::vector<float> whole = copy_of(cached.prefill(ids, {}));
  for (const int calls : {0, 1, 3, 6}) {
    int count = 0;
    cached.prefill(first(ids, 1), {});
    EXPECT_TRUE(cached.prefill(ids, [&] { return count++ == calls; }).empty());
    EXPECT_EQ(count, calls + 1);
    EXPECT_EQ(copy_of(cached.prefill(ids, {})), whole);
  }
}

TEST(CachedModel, ThreadsChangeNoBit) {
  const std::vector<std::int32_t> ids = ids_of(300);
  std::vector<std::vector<float>> expected;
  for (const int threads : {1, 2, 3, 5}) {
    const ThreadCount count(threads);
    Tiny tiny;
    CachedModel cached(tiny.model, kContext);
    const auto logits = run(cached, ids, 290);
    if (expected.empty()) expected = logits;
    EXPECT_EQ(logits, expected) << threads << " threads";
  }
}

TEST(CachedModel, APassAfterAnExceptionHasNoCache) {
  Tiny tiny;
  const std::vector<std::int32_t> ids = ids_of(50);
  const std::vector<float> expected = tiny.model.logits(ids);
  CachedModel cached(tiny.model, kContext);
  int asked = 0;
  const auto fail = [&]() -> bool {
    if (++asked == 2) throw std::runtime_error("between two layers");
    return false;
  };
  EXPECT_THROW(cached.prefill(ids, fail), std::runtime_error);
  EXPECT_EQ(tiny.model.logits(ids), expected);
}

}  // namespace
}  // namespace shori
