// Prompts byte for byte, and what is left of those that are too long.
#include "shori/data/prompt.h"

#include <gtest/gtest.h>

#include "shori/data/token_text.h"
#include "shori/util/hash.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using test::mistral_tokenizer;

std::vector<Segment> setting() {
  return {{.role = Role::kLore, .body = "Gensokyo."},
          {.role = Role::kDescription, .body = "Reimu\n**Name:** Reimu"},
          {.role = Role::kDescription, .body = "Marisa\n**Name:** Marisa"},
          {.role = Role::kScenario, .body = "They meet."},
          {.role = Role::kInst,
           .body = "Write a safe conversation suitable for all audiences. Don't be vulgar or sexually explicit."}};
}

Segment message(const std::string& body) { return {.role = Role::kMessage, .body = body}; }

TEST(Prompt, OfTwoCharacters) {
  std::vector<Segment> chat = setting();
  for (const char* body : {"Reimu: \"Hmm...\"", "Marisa: \"Ooohh!\"", "Reimu: _Ugh._", "Marisa: \"Ze!\""})
    chat.push_back(message(body));
  const std::string prompt = render_prompt(chat, {.opening = "Reimu:"});
  EXPECT_EQ(prompt.size(), 387u);
  EXPECT_EQ(sha256_hex(prompt), "25c41a49d5e44d66799bc63e73fb73decfbf104e620858cd2bcd06ce519e9de1");
  EXPECT_EQ(mistral_tokenizer().encode(prompt).size(), 141u);
}

TEST(Prompt, OfAGroup) {
  std::vector<Segment> chat = setting();
  for (const char* body : {"Chen: \"Nya?\"", "Yukari: \"Hm.\"", "Marisa: \"Ooohh!\""}) chat.push_back(message(body));
  chat.push_back({.role = Role::kInst, .body = "Yukari's personality: proud, haughty"});
  chat.push_back(message("Yukari: \"Boring.\""));
  const std::string prompt = render_prompt(chat, {.opening = "Reimu:"});
  EXPECT_EQ(prompt.size(), 440u);
  EXPECT_EQ(sha256_hex(prompt), "7d433c1efff228725fb61328e7920bce1b8b833bd5b121182ef53aabcb0a7c5f");
  EXPECT_EQ(mistral_tokenizer().encode(prompt).size(), 161u);
}

TEST(Prompt, WithoutSpeakerOrHint) {
  EXPECT_EQ(render_prompt({}, {}), "▀message (length: medium)\n");
  EXPECT_EQ(render_prompt({}, {.hint = LengthHint::kNone, .opening = "Reimu: \"I"}), "▀message\nReimu: \"I");
}

TEST(Prompt, OldestUnitsAreDropped) {
  std::vector<Segment> chat = setting();
  chat.push_back({.role = Role::kOoc, .body = "one"});
  chat.push_back(message("Reimu: one"));
  chat.push_back({.role = Role::kOoc, .body = "one, too"});
  chat.push_back({.role = Role::kInst, .body = "two"});
  chat.push_back(message("Marisa: two"));
  chat.push_back(message("Reimu: three"));
  chat.push_back({.role = Role::kInst, .body = "four"});
  const PromptEnd end{.opening = "Reimu:"};
  const std::string header = render(setting());
  // After the header: what is left without 0, 1, 2 and 3 units.
  struct Step {
    std::size_t dropped;  // segments
    std::string rest;
  };
  const std::vector<Step> steps = {
      {.dropped = 0, .rest = render(std::span(chat).subspan(5))},
      {.dropped = 3, .rest = render(std::span(chat).subspan(8))},
      {.dropped = 5, .rest = render(std::span(chat).subspan(10))},
      {.dropped = 6, .rest = render(std::span(chat).subspan(11))},
  };
  const auto whole =
      std::ssize(mistral_tokenizer().encode(header + steps[0].rest + "▀message (length: medium)\nReimu:")) + 1;
  for (std::int64_t room = whole; room > 0; --room) {
    const FittedPrompt fitted = fit_prompt(mistral_tokenizer(), chat, end, room);
    std::size_t step = 0;
    while (step + 1 < steps.size() && steps[step].dropped < fitted.dropped_segments) ++step;
    EXPECT_EQ(fitted.dropped_segments, steps[step].dropped) << "whole units";
    EXPECT_EQ(fitted.text, header + steps[step].rest + "▀message (length: medium)\nReimu:");
    EXPECT_EQ(fitted.ids, mistral_tokenizer().encode(fitted.text));
    EXPECT_EQ(step == 0, room == whole);
    EXPECT_TRUE(std::ssize(fitted.ids) + 1 <= room || step == 3) << "the last unit is never left out";
  }
}

TEST(Prompt, ManyPromptsOfALongChatBeginAlike) {
  constexpr std::int64_t kRoom = 600;
  std::vector<Segment> chat = setting();
  std::size_t dropped = 0, changes = 0;
  std::int64_t said = 0, shortest = kRoom;
  for (int turn = 0; turn < 120; ++turn) {
    const PromptEnd end{.hint = turn % 3 == 0 ? LengthHint::kTiny : LengthHint::kNone,
                        .opening = turn % 2 == 0 ? "Reimu:" : "Marisa Kirisame:"};
    const FittedPrompt prompt = fit_prompt(mistral_tokenizer(), chat, end, kRoom);
    ASSERT_LE(std::ssize(prompt.ids) + 1, kRoom);
    ASSERT_GE(prompt.dropped_segments, dropped);
    if (prompt.dropped_segments > dropped) ++changes;
    dropped = prompt.dropped_segments;
    if (dropped > 0) shortest = std::min(shortest, std::ssize(prompt.ids));
    if (turn % 7 == 0) chat.push_back({.role = Role::kInst, .body = "Marisa's personality: brash, a thief"});
    std::string body = end.opening;
    for (int word = 0; word < 5 + turn * 11 % 40; ++word) body += " word";
    chat.push_back(message(body));
    said += std::ssize(mistral_tokenizer().encode(render(std::span(chat).last(1))));
  }
  EXPECT_GT(said, 5 * kRoom);
  EXPECT_GE(changes, 5u);
  EXPECT_LE(static_cast<std::int64_t>(changes), said / 80)
      << "about a quarter of what is not the header is freed at once";
  EXPECT_GT(shortest, kRoom / 2);
}

TEST(Prompt, WithoutMessagesNothingIsDropped) {
  EXPECT_EQ(fit_prompt(mistral_tokenizer(), setting(), {}, 1).text, render_prompt(setting(), {}));
  EXPECT_EQ(fit_prompt(mistral_tokenizer(), {}, {}, 1).text, "▀message (length: medium)\n");
}

TEST(TokenText, GivesTheTextBack) {
  const Tokenizer& tokenizer = mistral_tokenizer();
  for (const std::string text :
       {"▀message (length: tiny)\nReimu: \"Hmm...\"▄\n", " two  spaces ", "é🙂\U0001FAE0 日本語\t", ""})
    EXPECT_EQ(decode_ids(tokenizer, tokenizer.encode(text), true), text);
}

TEST(TokenText, AContinuationKeepsItsSpace) {
  const Tokenizer& tokenizer = mistral_tokenizer();
  const auto ids = tokenizer.encode("Hi");
  EXPECT_EQ(decode_ids(tokenizer, ids, true), "Hi");
  EXPECT_EQ(decode_ids(tokenizer, ids, false), " Hi");
  EXPECT_EQ(decode_ids(tokenizer, std::vector<std::int32_t>{1, 28705, 30374, 2}, true), "▀");
  EXPECT_EQ(decode_ids(tokenizer, std::vector<std::int32_t>{0}, true), " ⁇ ");
}

TEST(TokenText, HoldsBytesBackUntilTheCharacterIsWhole) {
  TokenTextDecoder decoder(mistral_tokenizer(), false);
  const auto byte = [](int value) { return 3 + value; };
  EXPECT_EQ(decoder.append(byte(0xF0)), "");
  EXPECT_EQ(decoder.append(byte(0x9F)), "");
  EXPECT_EQ(decoder.append(byte(0x99)), "");
  EXPECT_EQ(decoder.append(byte(0x82)), "🙂");
  // E0 needs A0 or more, so that 9F cannot go on; 9F alone is no begin either.
  EXPECT_EQ(decoder.append(byte(0xE0)), "");
  EXPECT_EQ(decoder.append(byte(0x9F)), "\uFFFD\uFFFD");
  EXPECT_EQ(decoder.append(byte(0xC3)), "");
  EXPECT_EQ(decoder.append(mistral_tokenizer().close_id()), "\uFFFD▄");
  EXPECT_EQ(decoder.append(byte(0xE2)), "");
  EXPECT_EQ(decoder.append(byte(0x96)), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD\uFFFD");
}

}  // namespace
}  // namespace shori
