// Replies of a model that says what a test wrote down.
#include "shori/infer/generate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "src/infer/stop_filter.h"
#include "tests/support/error_code.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

// Gives `script` token by token after any prompt.
class ScriptedModel : public LanguageModel {
 public:
  ScriptedModel(std::vector<std::int32_t> script, std::int64_t vocab, std::int64_t context = 1000)
      : script_(std::move(script)), context_(context), logits_(static_cast<std::size_t>(vocab)) {}

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(logits_.size()); }
  std::int64_t context_length() const override { return context_; }
  std::span<const float> prefill(std::span<const std::int32_t> ids, const std::function<bool()>& stop) override {
    prompt.assign(ids.begin(), ids.end());
    if (stop()) return {};
    return next();
  }
  std::span<const float> append(std::int32_t id) override {
    appended.push_back(id);
    return next();
  }

  std::vector<std::int32_t> prompt, appended;

 private:
  std::span<const float> next() {
    std::ranges::fill(logits_, 0.0f);
    logits_[static_cast<std::size_t>(script_.at(at_++))] = 100.0f;
    return logits_;
  }

  std::vector<std::int32_t> script_;
  std::int64_t context_;
  std::size_t at_ = 0;
  std::vector<float> logits_;
};

class Generate : public testing::Test {
 protected:
  // The reply to a prompt, where the model continues it with `text`.
  Reply say(const std::string& text, GenerateOptions options = {}, const GenerateEvents& events = {}) {
    const std::string prompt = "\xE2\x96\x80message\nReimu:";
    const auto prompt_ids = tokenizer_.encode(prompt);
    auto script = tokenizer_.encode(prompt + text);
    script.erase(script.begin(), script.begin() + std::ssize(prompt_ids));
    return give(std::move(script), std::move(options), events);
  }
  Reply give(std::vector<std::int32_t> script, GenerateOptions options, const GenerateEvents& events = {}) {
    ScriptedModel model(std::move(script), tokenizer_.vocab_size() + 7);
    Reply reply = generate(model, tokenizer_, tokenizer_.encode("\xE2\x96\x80message\nReimu:"), options, events);
    prompt_ = model.prompt;
    return reply;
  }

  const Tokenizer& tokenizer_ = test::mistral_tokenizer();
  std::vector<std::int32_t> prompt_;
};

TEST_F(Generate, StopsAtTheEndOfTheBlock) {
  const Reply reply = say(" \"Hi, Marisa!\" \n\xE2\x96\x84\nmore");
  EXPECT_EQ(reply.text, " \"Hi, Marisa!\"");
  EXPECT_EQ(reply.stop, StopReason::kBlockEnd);
  EXPECT_EQ(prompt_.front(), tokenizer_.bos_id());
  EXPECT_EQ(std::ranges::count(reply.ids, tokenizer_.close_id()), 0);
}

TEST_F(Generate, StopsAtEosAndAtTheNextBlock) {
  const Reply eos = give({tokenizer_.newline_id(), tokenizer_.eos_id()}, {});
  EXPECT_EQ(eos.stop, StopReason::kEos);
  EXPECT_EQ(eos.text, "");
  const Reply next = say(" Hm.\n\xE2\x96\x80message\n");
  EXPECT_EQ(next.stop, StopReason::kNextBlock);
  EXPECT_EQ(next.text, " Hm.");
}

TEST_F(Generate, GoesOnWhereBlocksDoNotStop) {
  const Reply reply = say(" Hm.\xE2\x96\x84\n\xE2\x96\x80message\n", {.max_tokens = 6, .stop_at_blocks = false});
  EXPECT_EQ(reply.stop, StopReason::kLength);
  EXPECT_EQ(reply.ids.size(), 6u);
  EXPECT_TRUE(reply.text.starts_with(" Hm.\xE2\x96\x84\n\xE2\x96\x80")) << reply.text;
}

TEST_F(Generate, TextBeforeAStopString) {
  std::vector<std::string> parts;
  const GenerateEvents events{.text = [&](std::string_view part, std::int64_t) {
    parts.emplace_back(part);
    return true;
  }};
  const GenerateOptions options{.stop_strings = {"", "\nMarisa:", "END"}};
  const Reply reply = say(" One two\nMari goes. \n\nMarisa: no", options, events);
  EXPECT_EQ(reply.text, " One two\nMari goes.");
  EXPECT_EQ(reply.stop, StopReason::kStopString);
  std::string joined;
  for (const std::string& part : parts) joined += part;
  EXPECT_EQ(joined, reply.text);
  EXPECT_GT(parts.size(), 3u);
}

TEST_F(Generate, HeldBackTextIsGivenAtTheEnd) {
  EXPECT_EQ(say(" It is the EN\xE2\x96\x84", {.stop_strings = {"END"}}).text, " It is the EN");
}

TEST_F(Generate, CharactersComeWhole) {
  std::vector<std::int64_t> tokens_at;
  const GenerateEvents events{.text = [&](std::string_view part, std::int64_t tokens) {
    EXPECT_EQ(part.find("\xEF\xBF\xBD"), std::string_view::npos);
    tokens_at.push_back(tokens);
    return true;
  }};
  const Reply whole = say(" \xF0\x9F\xAB\xA0!\xE2\x96\x84", {}, events);
  EXPECT_EQ(whole.text, " \xF0\x9F\xAB\xA0!");
  EXPECT_EQ(tokens_at.back(), std::ssize(whole.ids));
  EXPECT_LT(tokens_at.size(), whole.ids.size()) << "a part of several tokens";
  // A reply that ends within a character ends before it.
  EXPECT_EQ(say(" a\xF0\x9F\xAB\xA0", {.max_tokens = 3}, events).text, " a");
}

TEST_F(Generate, CancelledByEitherEvent) {
  int asked = 0;
  const Reply before = say(" one two three four five\xE2\x96\x84", {}, {.cancelled = [&] { return ++asked > 4; }});
  EXPECT_EQ(before.stop, StopReason::kCancelled);
  EXPECT_FALSE(before.ids.empty());
  const Reply by_text =
      say(" one two three\xE2\x96\x84", {}, {.text = [](std::string_view, std::int64_t) { return false; }});
  EXPECT_EQ(by_text.stop, StopReason::kCancelled);
  EXPECT_EQ(by_text.text, " one");
  const Reply at_once = say(" one\xE2\x96\x84", {}, {.cancelled = [] { return true; }});
  EXPECT_EQ(at_once.stop, StopReason::kCancelled);
  EXPECT_TRUE(at_once.ids.empty());
}

TEST_F(Generate, EndsWhereTheContextIsFull) {
  const auto prompt = tokenizer_.encode("a b");
  ScriptedModel model(std::vector<std::int32_t>(50, 700), tokenizer_.vocab_size(), 10);
  const Reply reply = generate(model, tokenizer_, prompt, {});
  EXPECT_EQ(reply.stop, StopReason::kLength);
  EXPECT_EQ(reply.ids.size(), 10 - 1 - prompt.size());
  const std::vector<std::int32_t> full(10, 700);
  EXPECT_EQ(code_of([&] { generate(model, tokenizer_, full, {}); }), "E0409");
}

TEST(StopFilter, TheEarliestStopStringCounts) {
  const std::vector<std::string> stops = {"bc", "abcd", "x"};
  StopFilter filter(stops);
  EXPECT_EQ(filter.append("za"), "z");
  EXPECT_EQ(filter.append("b"), "");
  EXPECT_EQ(filter.append("cdx"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.append("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, WhiteSpaceWaitsForWhatFollows) {
  const std::vector<std::string> stops;
  StopFilter filter(stops);
  EXPECT_EQ(filter.append(" a \n"), " a");
  EXPECT_EQ(filter.append("\n"), "");
  EXPECT_EQ(filter.append("b\n"), " \n\nb");
  EXPECT_EQ(filter.finish(), "");
}

}  // namespace
}  // namespace shori
