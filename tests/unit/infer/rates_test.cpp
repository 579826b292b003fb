// Numbers about replies, and the presets.
#include "shori/infer/rates.h"

#include <gtest/gtest.h>

#include "shori/infer/sampler_presets.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using Ids = std::vector<std::int32_t>;
using Names = std::vector<std::string_view>;

TEST(Rates, ShareOfRepeatedFourGrams) {
  EXPECT_EQ(repetition(Ids{1, 2, 3, 4, 5}, Ids{1, 2, 3}), 0.0);
  EXPECT_EQ(repetition(Ids{1, 2, 3, 4, 5}, Ids{1, 2, 3, 4}), 1.0);
  // 2345 is in the prompt, 3456 is not.
  EXPECT_EQ(repetition(Ids{1, 2, 3, 4, 5}, Ids{2, 3, 4, 5, 6}), 0.5);
  // In the reply itself: 7777 once, then twice more.
  EXPECT_EQ(repetition({}, Ids(6, 7)), 2.0 / 3.0);
  // A 4-gram that begins in the prompt is none of the reply, but what follows may repeat it.
  EXPECT_EQ(repetition(Ids{9, 1, 1}, Ids{1, 1, 1, 1}), 1.0);
}

TEST(Rates, MessageThatIsOpen) {
  const auto open = find_open_message(
      "▀lore\nx▄\n▀message\nMarisa: a▄\n▀message (length: tiny)\nChen: b▄\n▀message\nMarisa: c▄\n▀message (length: "
      "long)\nReimu:");
  ASSERT_TRUE(open);
  EXPECT_EQ(open->hint, LengthHint::kLong);
  EXPECT_EQ(open->speaker, "Reimu");
  EXPECT_EQ(open->body, "Reimu:");
  EXPECT_EQ(open->speakers, (Names{"Marisa", "Chen"}));
  EXPECT_FALSE(find_open_message("▀message\nMarisa: a▄\n"));
  EXPECT_FALSE(find_open_message("▀message\nMarisa: a▄\n▀lore\nx"));
  EXPECT_FALSE(find_open_message("Once upon a time"));
  EXPECT_EQ(find_open_message("▀message\n")->speaker, "");
  EXPECT_EQ(find_open_message("▀message\nReimu: Well")->speaker, "Reimu");
}

TEST(Rates, WhoSpeaks) {
  const Names others = {"Marisa", "Chen"};
  EXPECT_FALSE(speaks_for_another("Reimu: \"Hi\"", "Reimu", others));
  EXPECT_TRUE(speaks_for_another("Marisa: \"Hi\"", "Reimu", others));
  EXPECT_TRUE(speaks_for_another("Reimu: \"Hi\"\n\nMarisa: \"Ze!\"", "Reimu", others));
  EXPECT_FALSE(speaks_for_another("Reimu: \"Hi\"\n\nMarisa smiles: \"Ze!\"", "Reimu", others));
  EXPECT_FALSE(speaks_for_another("Reimu: Look\nReimu: again", "Reimu", others));
  EXPECT_FALSE(speaks_for_another("Marisa: Well", "", others));
  EXPECT_FALSE(speaks_for_another("Rain falls.", "Reimu", others));
}

TEST(Rates, OfAReply) {
  const Tokenizer& tokenizer = test::mistral_tokenizer();
  const std::string prompt = "▀message\nMarisa: \"Ze!\"▄\n▀message (length: nano)\nReimu:";
  Reply reply{.text = " \"Hm.\""};
  reply.ids = tokenizer.encode(reply.text);
  ReplyRates rates = rate_reply(tokenizer, prompt, tokenizer.encode(prompt), reply);
  EXPECT_EQ(rates.hint, LengthHint::kNano);
  EXPECT_EQ(rates.bucket, LengthHint::kNano);
  EXPECT_FALSE(rates.impersonated);
  for (int i = 0; i < 5; ++i) reply.text += " and then she walks away";
  reply.text += "\nMarisa: \"Wait!\"";
  rates = rate_reply(tokenizer, prompt, tokenizer.encode(prompt), reply);
  EXPECT_EQ(rates.bucket, LengthHint::kTiny);
  EXPECT_TRUE(rates.impersonated);
  EXPECT_EQ(rate_reply(tokenizer, "Once", {}, reply).bucket, LengthHint::kNone);
}

TEST(SamplerPresets, AreTheCards) {
  for (const SamplerPreset preset : kSamplerPresets) EXPECT_FALSE(find_setting_problem(preset_settings(preset)));
  const SamplerSettings main = preset_settings(SamplerPreset::kMain);
  EXPECT_EQ(main, (SamplerSettings{.temperature = 1.0f, .min_p = 0.07f, .presence_penalty = 0.4f}));
  EXPECT_EQ(preset_settings(SamplerPreset::kAlternative2).mirostat, 2);
}

}  // namespace
}  // namespace shori
