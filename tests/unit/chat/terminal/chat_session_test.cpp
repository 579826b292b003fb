// Chats with a model that always says the same.
#include "src/chat/terminal/chat_session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "shori/util/file.h"
#include "tests/support/temporary_folder.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

class FixedModel : public LanguageModel {
 public:
  FixedModel(const Tokenizer& tokenizer, const std::string& reply)
      : logits_(static_cast<std::size_t>(tokenizer.vocab_size())) {
    const std::string opening = "\xE2\x96\x80message\nAnn:";
    script_ = tokenizer.encode(opening + reply);
    script_.erase(script_.begin(), script_.begin() + std::ssize(tokenizer.encode(opening)));
  }
  std::int64_t vocab_size() const override { return std::ssize(logits_); }
  std::int64_t context_length() const override { return 4000; }
  std::span<const float> prefill(std::span<const std::int32_t>, const std::function<bool()>&) override {
    at_ = 0;
    ++prompts;
    if (before_prompt) before_prompt(prompts);
    if (is_stopped) return {};
    return next();
  }
  std::span<const float> append(std::int32_t) override { return next(); }

  std::function<void(int number)> before_prompt;
  int prompts = 0;
  bool is_stopped = false;  // as by Ctrl-C before the first token

 private:
  std::span<const float> next() {
    std::ranges::fill(logits_, 0.0f);
    logits_[static_cast<std::size_t>(script_.at(at_++))] = 1000.0f;
    return logits_;
  }

  std::vector<std::int32_t> script_;
  std::vector<float> logits_;
  std::size_t at_ = 0;
};

class ScriptedLines : public LineReader {
 public:
  bool is_terminal() const override { return true; }
  Line read(const std::string&, const std::string&) override {
    if (before_read) before_read(lines.size());
    if (lines.empty()) return {};
    const Line first = lines.front();
    lines.pop_front();
    return first;
  }

  std::deque<Line> lines;
  std::function<void(std::size_t left)> before_read;
};

class ChatSessionTest : public testing::Test {
 protected:
  ChatSession& chat(std::vector<const char*> typed, const std::string& reply = " Hm.\xE2\x96\x84") {
    for (const char* text : typed) lines_.lines.push_back({Line::Kind::kText, text});
    model_.emplace(tokenizer_, reply);
    model_->before_prompt = before_prompt_;
    session_.emplace(*model_, tokenizer_, ChatOptions{.as = "Ann", .me = "Ben"}, interrupts_, lines_, &*copy_);
    session_->run();
    return *session_;
  }
  std::string said() const {
    std::string text;
    for (const Segment& segment : session_->conversation().segments()) text += segment.body + "|";
    return text;
  }
  void interrupt(bool was_typed) { lines_.lines.push_back({Line::Kind::kInterrupt, "", true, was_typed}); }

  const Tokenizer& tokenizer_ = test::mistral_tokenizer();
  TemporaryFolder folder_;
  Interrupts interrupts_;
  ScriptedLines lines_;
  std::optional<UnsavedCopy> copy_{folder_.file("state")};
  std::optional<FixedModel> model_;
  std::optional<ChatSession> session_;
  std::function<void(int number)> before_prompt_;
};

TEST_F(ChatSessionTest, AReplyIsKeptBeforeTheNextLine) {
  lines_.before_read = [this](std::size_t left) {
    EXPECT_EQ(path_exists(copy_->path()), left == 1 || left == 2) << left;
  };
  chat({"Hello", "/undo", "/undo"});
  EXPECT_EQ(said(), "");
}

TEST_F(ChatSessionTest, TheOwnNameIsSaidOnce) {
  chat({"Ben: Hello", "Ann: You?"});
  EXPECT_EQ(said(), "Ben: Hello|Ann: Hm.|Ben: Ann: You?|Ann: Hm.|");
}

TEST_F(ChatSessionTest, ARetryThatSaysNothingKeepsTheReply) {
  before_prompt_ = [this](int number) { model_->is_stopped = number == 3; };
  chat({"Hello", "/say Cat", "/retry"});
  EXPECT_EQ(said(), "Ben: Hello|Ann: Hm.|Cat: Hm.|");
}

TEST_F(ChatSessionTest, ARetryThatFailsKeepsTheReplyAndItsName) {
  before_prompt_ = [](int number) {
    if (number == 3) throw Error(Diagnostic("E0701", "the device failed"));
  };
  chat({"Hello", "/say Cat", "/retry", "/retry"});
  EXPECT_EQ(said(), "Ben: Hello|Ann: Hm.|Cat: Hm.|");
  EXPECT_EQ(model_->prompts, 4);
}

TEST_F(ChatSessionTest, ControlCharactersOfAReplyAreNotKept) {
  chat({"a \xC2\x9B"
        "b"},
       " H\xC2\x9Bm.\xE2\x96\x84");
  EXPECT_EQ(said(), "Ben: a b|Ann: Hm.|");
}

TEST_F(ChatSessionTest, TypingBetweenInterruptsCounts) {
  interrupt(false);
  interrupt(true);
  interrupt(false);
  lines_.lines.push_back({Line::Kind::kText, "never said"});
  chat({});
  EXPECT_EQ(said(), "");
  EXPECT_EQ(lines_.lines.size(), 1u);
}

TEST_F(ChatSessionTest, AChatThatCannotBeKeptLeavesOnTheSecondQuit) {
  folder_.write("state", "no folder");
  chat({"Hello", "/quit", "More", "/quit", "/quit", "never said"});
  EXPECT_EQ(said(), "Ben: Hello|Ann: Hm.|Ben: More|Ann: Hm.|");
  EXPECT_EQ(lines_.lines.size(), 1u);
}

}  // namespace
}  // namespace shori
