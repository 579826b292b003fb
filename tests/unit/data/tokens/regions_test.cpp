#include "shori/data/regions.h"

#include <gtest/gtest.h>

#include "shori/util/error.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using test::mistral_tokenizer;
using test::parsed;

MaskOptions only(const std::vector<std::string>& roles) {
  MaskOptions mask;
  mask.train_on_inputs = false;
  mask.trained_roles = trained_roles(roles);
  return mask;
}

EncodedSample encoded(const std::string& text, const MaskOptions& mask = {}) {
  return encode_segments(parsed(text).segments, mistral_tokenizer(), mask, true, true);
}

std::vector<std::size_t> trained_indices(const EncodedSample& sample) {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < sample.trained.size(); ++i) {
    if (sample.trained[i] != 0) indices.push_back(i);
  }
  return indices;
}

std::vector<std::size_t> ranges(std::initializer_list<std::pair<std::size_t, std::size_t>> list) {
  std::vector<std::size_t> indices;
  for (const auto& [first, last] : list) {
    for (std::size_t i = first; i <= last; ++i) indices.push_back(i);
  }
  return indices;
}

// Surfaces of the ids of one region, a `|` between runs.
std::string surfaces(const EncodedSample& sample, Region region) {
  std::string result;
  bool inside = false;
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    const bool wanted = static_cast<Region>(sample.regions[i]) == region;
    if (wanted && !inside && !result.empty()) result += '|';
    inside = wanted;
    if (!wanted) continue;
    std::string piece(mistral_tokenizer().piece(sample.ids[i]));
    if (piece == "<0x0A>") piece = "\n";
    result += piece;
  }
  return result;
}

TEST(Regions, MasksOfDocumentA) {
  EXPECT_EQ(trained_indices(encoded(test::kDocumentA, only({"message"}))), ranges({{44, 52}, {70, 81}, {83, 83}}));
  MaskOptions silent = only({"message"});
  silent.train_on_speaker = false;
  EXPECT_EQ(trained_indices(encoded(test::kDocumentA, silent)), ranges({{48, 52}, {73, 81}, {83, 83}}));
  silent.train_on_eos = false;
  EXPECT_EQ(trained_indices(encoded(test::kDocumentA, silent)), ranges({{48, 52}, {73, 81}}));
  const EncodedSample all = encoded(test::kDocumentA);
  EXPECT_EQ(trained_indices(all), ranges({{0, 83}}));
  EXPECT_EQ(all.ids.front(), 1);
  EXPECT_EQ(all.ids.back(), 2);
  EXPECT_EQ(all.ids.size(), 84u);
}

TEST(Regions, OfDocumentA) {
  const EncodedSample sample = encoded(test::kDocumentA);
  EXPECT_EQ(surfaces(sample, Region::kBos), "<s>");
  EXPECT_EQ(surfaces(sample, Region::kEos), "</s>");
  EXPECT_EQ(surfaces(sample, Region::kHead), "▁▀title\n|▀tags\n|▀description\n|▀message▁(length:▁tiny)\n|▀message\n");
  EXPECT_EQ(surfaces(sample, Region::kSpeaker), "Reimu:|Marisa:");
  EXPECT_EQ(surfaces(sample, Region::kText), "▁\"Hmm...\"|▁_Ugh._▁\"Boring.\"");
  EXPECT_EQ(surfaces(sample, Region::kBody), "A▁strange▁incident|barrier,▁danmaku|Reimu\n**Name:**▁Reimu");
  EXPECT_EQ(surfaces(sample, Region::kEnd), "▄|▄|▄|▄|▄");
  EXPECT_EQ(surfaces(sample, Region::kInst), "[INST]▁Marisa▁is▁bored.▁[/INST]\n");
  EXPECT_EQ(surfaces(sample, Region::kGap), "\n|\n|\n|\n|\n");
}

TEST(Regions, SpeakerOnItsOwnLineNarrationAndCharactersOfManyBytes) {
  const EncodedSample sample =
      encoded("▀message\nAya:\n𒀀 x▄\n▀message\nIt rains.▄\n[INST] 𒀀 [/INST]\n▀message\n𒀀: y▄\n");
  EXPECT_EQ(surfaces(sample, Region::kSpeaker), "Aya:\n|<0xF0><0x92><0x80><0x80>:");
  EXPECT_EQ(surfaces(sample, Region::kText), "<0xF0><0x92><0x80><0x80>▁x|It▁rains.|▁y");
  EXPECT_EQ(surfaces(sample, Region::kInst), "[INST]▁<0xF0><0x92><0x80><0x80>▁[/INST]\n");
  EXPECT_EQ(message_lengths(sample).size(), 3u);
}

TEST(Regions, MessageLengths) {
  EXPECT_EQ(message_lengths(encoded(test::kDocumentA)), (std::vector<std::int64_t>{4, 8}));
  test::RandomDocuments random(21);
  for (int i = 0; i < 100; ++i) {
    const std::vector<Segment> segments = random.segments();
    const auto lengths = message_lengths(encode_segments(segments, mistral_tokenizer(), {}, false, true));
    std::size_t message = 0;
    for (const Segment& segment : segments) {
      if (segment.role != Role::kMessage) continue;
      const auto speaker = find_speaker(segment.body);
      const std::int64_t length = lengths.at(message++);
      if (!speaker || segment.body[speaker->text_begin - 1] != ' ') continue;
      EXPECT_EQ(static_cast<std::size_t>(length),
                mistral_tokenizer().encode(segment.body.substr(speaker->text_begin)).size());
    }
    EXPECT_EQ(message, lengths.size());
  }
}

const std::string kAllRoles =
    "▀title\nti▄\n▀tags\nta▄\n▀lore\nlo▄\n▀scenario\nsc▄\n▀description\nde▄\n[INST] in "
    "[/INST]\n▀ooc\noo▄\n▀message\nme▄\n";

TEST(Regions, EachRoleCanBeTrainedAlone) {
  struct Case {
    std::string role, trained;
  };
  const Case cases[] = {
      {.role = "title", .trained = "ti▄"},       {.role = "tags", .trained = "ta▄"},
      {.role = "lore", .trained = "lo▄"},        {.role = "scenario", .trained = "sc▄"},
      {.role = "description", .trained = "de▄"}, {.role = "ooc", .trained = "oo▄"},
      {.role = "message", .trained = "me▄"},     {.role = "inst", .trained = "[INST]▁in▁[/INST]\n"},
  };
  for (const auto& [role, expected] : cases) {
    const EncodedSample sample = encoded(kAllRoles, only({role}));
    std::string trained;
    for (std::size_t i = 0; i < sample.ids.size(); ++i) {
      if (sample.trained[i] == 0) continue;
      const std::string piece(mistral_tokenizer().piece(sample.ids[i]));
      trained += piece == "<0x0A>" ? "\n" : piece;
      const bool eos = static_cast<Region>(sample.regions[i]) == Region::kEos;
      EXPECT_EQ(sample.roles[i],
                static_cast<std::uint8_t>(eos ? TokenRole::kEos : static_cast<TokenRole>(*find_role(role))));
    }
    EXPECT_EQ(trained, expected + "</s>") << role;
  }
}

TEST(Regions, PartitionTheIdsOfRandomDocuments) {
  test::RandomDocuments random(22);
  for (int i = 0; i < 200; ++i) {
    const std::vector<Segment> segments = random.segments();
    const EncodedSample sample = encode_segments(segments, mistral_tokenizer(), only({"message", "inst"}), true, false);
    ASSERT_EQ(sample.regions.size(), sample.ids.size());
    ASSERT_EQ(sample.roles.size(), sample.ids.size());
    ASSERT_EQ(sample.trained.size(), sample.ids.size());
    std::vector<std::int32_t> whole = mistral_tokenizer().encode(render(segments));
    whole.insert(whole.begin(), 1);
    EXPECT_EQ(sample.ids, whole);
    for (std::size_t k = 0; k < sample.ids.size(); ++k) {
      const auto region = static_cast<Region>(sample.regions[k]);
      const auto role = static_cast<TokenRole>(sample.roles[k]);
      const bool of_message = region == Region::kText || region == Region::kSpeaker;
      EXPECT_EQ(region == Region::kEnd, sample.ids[k] == mistral_tokenizer().close_id());
      EXPECT_TRUE(sample.ids[k] != mistral_tokenizer().open_id() || region == Region::kHead);
      EXPECT_TRUE(region != Region::kGap || sample.ids[k] == mistral_tokenizer().newline_id());
      EXPECT_EQ(region == Region::kInst, role == TokenRole::kInst);
      EXPECT_TRUE(!of_message || role == TokenRole::kMessage);
      EXPECT_TRUE(region != Region::kBody || role != TokenRole::kMessage);
    }
  }
}

TEST(Regions, ABodyWithABlockMarkIsABugOfOurs) {
  Segment broken;
  broken.body = "a ▄ b";
  try {
    encode_segments(std::vector<Segment>{broken}, mistral_tokenizer(), {}, true, true);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0001");
  }
}

TEST(Regions, EosPolicyAndRoleNames) {
  EXPECT_TRUE(wants_eos(EosRule::kEnd, false));
  EXPECT_TRUE(wants_eos(EosRule::kConversation, true));
  EXPECT_FALSE(wants_eos(EosRule::kConversation, false));
  EXPECT_FALSE(wants_eos(EosRule::kNever, true));
  EXPECT_THROW(trained_roles({"narrator"}), Error);
}

}  // namespace
}  // namespace shori
