// Conversations written as YAML: what each key renders as, where every problem is reported, and conversion there and back.
#include "shori/data/yaml_source.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shori/data/regions.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori::test {
namespace {

struct Reading {
  std::optional<YamlConversation> conversation;
  std::vector<std::string> problems;  // "CODE line:column message"
  std::string text() const { return conversation ? render(conversation->document) : "(none)"; }
};

Reading read(const std::string& yaml, YamlSourceOptions options = {}, std::size_t first_line = 1) {
  Diagnostics diagnostics;
  Reading result;
  result.conversation = parse_yaml_conversation(yaml, "a.yaml", first_line, options, diagnostics);
  for (const Diagnostic& each : diagnostics.all()) {
    std::string text =
        each.code + " " + std::to_string(each.location.line) + ":" + std::to_string(each.location.column);
    for (const std::string& help : each.helps) text += " " + help;
    result.problems.push_back(text);
    EXPECT_EQ(each.location.file, "a.yaml");
    EXPECT_FALSE(each.message.empty());
  }
  return result;
}

TEST(YamlSource, EveryKeyAndItem) {
  const Reading reading = read(R"(id: shrine
category: high
rating: pg13
title: A strange incident
tags: [barrier, danmaku]
lore: [One., Two.]
characters:
  reimu: {name: Reimu, description: "**Name:** Reimu"}
  cirno:
    name: Cirno
    description: |
      <<cirno>> is the strongest.

  aya: {name: Aya}
scenario: <<reimu>> is bored.
system: Be safe.
messages:
  - ooc: hello
  - {who: reimu, text: '"Hmm..."', length: tiny}
  - {text: It rains.}
  - note: <<aya>> comes.
  - {title: Night, tags: [dark]}
  - introduce: cirno
  - scenario: Dawn.
  - lore: Three.
  - {who: cirno, text: " Eye am! ", length: none}
  - {description: A stranger.}
)");
  EXPECT_TRUE(reading.problems.empty()) << reading.problems.front();
  EXPECT_EQ(reading.text(),
            "▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀lore\nOne.▄\n▀lore\nTwo.▄\n"
            "▀description\nReimu\n**Name:** Reimu▄\n▀scenario\nReimu is bored.▄\n▀ooc\nhello▄\n"
            "[INST] Be safe. [/INST]\n▀message (length: tiny)\nReimu: \"Hmm...\"▄\n▀message\nIt rains.▄\n"
            "[INST] Aya comes. [/INST]\n▀title\nNight▄\n▀tags\ndark▄\n"
            "▀description\nCirno\nCirno is the strongest.▄\n▀scenario\nDawn.▄\n▀lore\nThree.▄\n"
            "▀message\nCirno: Eye am!▄\n▀description\nA stranger.▄\n");
  EXPECT_EQ(reading.conversation->id, "shrine");
  EXPECT_EQ(reading.conversation->category, "high");
  EXPECT_EQ(reading.conversation->rating, "pg13");
}

TEST(YamlSource, SegmentsStandWhereTheirTextsDo) {
  const Reading reading = read("title: T\nmessages:\n  - text: x\n  - {ooc: y}\n", {}, 11);
  ASSERT_TRUE(reading.conversation);
  const auto& segments = reading.conversation->document.segments;
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_EQ(segments[0].line, 11u);
  EXPECT_EQ(segments[1].line, 13u);
  EXPECT_EQ(segments[1].column, 11u);
  EXPECT_EQ(segments[2].column, 11u);
  EXPECT_EQ(segments[2].line, 14u);
}

TEST(YamlSource, ProblemsWithTheirLocations) {
  struct Case {
    std::string yaml;
    std::vector<std::string> problems;
  };
  const std::string end = "messages: [{text: x}]\n";
  const std::vector<Case> cases = {
      {"titel: x\n" + end, {"E0312 1:1 a key with a similar name exists: `title`"}},
      {"messages:\n  - {txt: x}\n",
       {"E0312 2:6 a key with a similar name exists: `text`", "E0312 2:5 {who: reimu, text: \"...\"}"}},
      {"rating: pg31\n" + end, {"E0312 1:9 a word with a similar name exists: `pg13`"}},
      {"category: hihg\n" + end, {"E0312 1:11 a word with a similar name exists: `high`"}},
      {"characters: {r: {name: Reimu}}\nmessages: [{who: rr, text: x}]\n",
       {"E0312 2:18 an id with a similar name exists: `r`"}},
      {"characters: {r: {name: 'a: b'}}\n" + end, {"E0312 1:24"}},
      {"characters: {r: {nmae: b}}\n" + end, {"E0312 1:14 r: {name: Reimu, description: ...}"}},
      {"title: a ▀ b\n" + end, {"E0310 1:8 delete it"}},
      {"title: a ▄ b\n" + end, {"E0310 1:8 delete it"}},
      {"title: ' '\n" + end, {"E0311 1:8 write its text, or leave it out"}},
      {"title: [x]\n" + end, {"E0312 1:8"}},
      {"tags: x\n" + end, {"E0312 1:7 tags: [barrier, danmaku]"}},
      {"messages: [{text: a <s> b}]\n", {"E0308 1:19 delete it"}},
      {"messages: [{text: x}, {note: 'a [/INST] b'}]\n", {"E0316 1:30 delete it, or make it two items"}},
      {"messages: [{text: x, length: midium}]\n", {"E0303 1:30 a length with a similar name exists: `medium`"}},
      {"messages: [{text: x, ooc: y}]\n", {"E0312 1:12 make it two items"}},
      {"messages: [{ooc: y, who: a}, {text: x}]\n", {"E0312 1:12"}},
      {"messages: [x]\n", {"E0312 1:12 {who: reimu, text: \"...\"}"}},
      {"messages: [{ooc: y}]\n", {"E0306 1:11 every conversation needs one: {text: ...}"}},
      {"title: x\n", {"E0312 1:1 messages: [{who: reimu, text: \"...\"}]"}},
      {"title: x\ntitle: y\n" + end, {"E0312 2:1"}},
      {"messages: [{text: *a}]\n", {"E0312 1:19"}},
      {"characters: {reimu: {name: Reimu}}\nmessages: [{text: '<<riemu>>'}]\n",
       {"E0312 2:19 an id with a similar name exists: `reimu`"}},
      {"characters: {r: {name: Reimu, description: d}}\nmessages: [{introduce: r}, {introduce: r}, {text: x}]\n",
       {"E0312 2:40"}},
      {"characters: {r: {name: Reimu}}\nmessages: [{introduce: r}, {text: x}]\n", {"E0312 2:24"}},
  };
  for (const Case& c : cases) {
    const Reading reading = read(c.yaml);
    EXPECT_FALSE(reading.conversation) << c.yaml;
    ASSERT_EQ(reading.problems.size(), c.problems.size()) << c.yaml << testing::PrintToString(reading.problems);
    for (std::size_t i = 0; i < c.problems.size(); ++i)
      EXPECT_TRUE(reading.problems[i].starts_with(c.problems[i])) << c.yaml << reading.problems[i];
  }
}

TEST(YamlSource, DocumentsOfAFile) {
  const std::string text = "# notes\n---\na: 1\n---\n# nothing\n--- \nb: 2\n...\n\nc: 3";
  const std::vector<YamlText> documents = split_yaml_documents(text);
  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[0].line, 2u);
  EXPECT_EQ(documents[1].line, 6u);
  EXPECT_EQ(documents[2].line, 9u);
  EXPECT_EQ(documents[2].text, "\nc: 3");
  EXPECT_TRUE(split_yaml_documents("# x\n\n---\n").empty());
  EXPECT_EQ(read("\nmessages: [{text: x}, {t: y}]\n", {}, 9).problems.front().substr(0, 11), "E0312 10:24");
}

TEST(YamlSource, LengthsByWordAndByItself) {
  YamlSourceOptions options;
  options.tokenizer = &mistral_tokenizer();
  options.default_length = LengthHint::kAuto;
  const std::string yaml =
      "characters: {r: {name: Reimu}}\nmessages: [{who: r, text: '\"Hmm...\"'}, "
      "{who: r, text: x, length: none}, {who: r, text: x, length: huge}, {text: x, length: auto}]\n";
  const auto hints = [&](const YamlSourceOptions& how) {
    std::string words;
    const Reading reading = read(yaml, how);
    for (const Segment& segment : reading.conversation->document.segments)
      words += std::string(length_name(segment.hint)) + ",";
    return words;
  };
  EXPECT_EQ(hints(options), "nano,,huge,nano,");
  options.buckets.bounds = {3, 4, 48, 96, 192, 320, 512, 800};  // "Hmm..." after a speaker is 4 tokens
  EXPECT_EQ(hints(options), "micro,,huge,nano,");
  options.default_length = LengthHint::kMedium;
  EXPECT_EQ(hints(options), "medium,,huge,nano,");
  options.tokenizer = nullptr;
  EXPECT_EQ(hints(options), "medium,,huge,,");
  EXPECT_TRUE(read(yaml, options).conversation->lacks_lengths);
  options.buckets.unit = LengthUnit::kChars;
  EXPECT_EQ(hints(options), "medium,,huge,nano,");
}

TEST(LengthBuckets, EachBoundBelongsToItsWord) {
  const LengthBuckets buckets;
  for (std::size_t i = 0; i < buckets.bounds.size(); ++i) {
    EXPECT_EQ(buckets.word_for(buckets.bounds[i]), static_cast<LengthHint>(i + 1));
    EXPECT_EQ(buckets.word_for(buckets.bounds[i] + 1), static_cast<LengthHint>(i + 2));
  }
  EXPECT_EQ(buckets.word_for(0), LengthHint::kNano);
}

// The unit of the design: ids of the text region in the encoded conversation.
TEST(LengthBuckets, TokensAreThoseOfTheEncodedConversation) {
  RandomDocuments random(5);
  for (int round = 0; round < 60; ++round) {
    const std::vector<Segment> segments = random.segments();
    const EncodedSample sample = encode_segments(segments, mistral_tokenizer(), {}, true, true);
    const std::vector<std::int64_t> lengths = message_lengths(sample);
    std::size_t message = 0;
    for (const Segment& segment : segments) {
      if (segment.role != Role::kMessage) continue;
      EXPECT_EQ(measure_message(segment.body, LengthUnit::kTokens, &mistral_tokenizer()), lengths[message++])
          << segment.body;
    }
  }
  EXPECT_EQ(measure_message("Reimu: é b  c", LengthUnit::kWords, nullptr), 3);
  EXPECT_EQ(measure_message("Reimu: é b  c", LengthUnit::kChars, nullptr), 6);
  EXPECT_EQ(measure_message("no speaker", LengthUnit::kWords, nullptr), 2);
}

TEST(YamlWriter, RandomConversationsComeBackByteForByte) {
  RandomDocuments random(3);
  const std::vector<std::string> odd = {"a: b",       "# c",   "- d",      "'e'",          "\"f\"",        "\\",
                                        "<<name_1>>", "<<x>>", "\xC2\x85", "\xE2\x80\xA8", "\xEF\xBB\xBF", "null",
                                        "\t",         "  x",   "x  ",      "\n---\n",      "{g}",          "%h"};
  for (int round = 0; round < 400; ++round) {
    std::vector<Segment> segments = random.segments();
    for (Segment& segment : segments) {
      if (random.below(3) == 0) segment.body = odd[random.below(odd.size())] + segment.body;
      if (random.below(3) == 0) segment.body += odd[random.below(odd.size())];
      if (random.below(9) == 0) segment.body = "Name 1\n" + segment.body;
    }
    const std::string before = render(segments);
    Diagnostics diagnostics;
    const auto document = parse_blockml(before, {"a", 0}, diagnostics);
    if (!document) continue;  // what was added made it something else
    const std::string canonical = render(*document);
    const std::string yaml = render_yaml_conversation(document->segments, "an id: x", "top-pg13", "explicit");
    const Reading reading = read(yaml);
    ASSERT_TRUE(reading.problems.empty()) << reading.problems.front() << "\n" << yaml;
    ASSERT_EQ(reading.text(), canonical) << yaml;
    EXPECT_EQ(reading.conversation->id, "an id: x");
    EXPECT_EQ(reading.conversation->category, "top-pg13");
    EXPECT_EQ(reading.conversation->rating, "explicit");
  }
}

TEST(YamlWriter, UsesTheKeysOfTheHeader) {
  const std::string yaml = render_yaml_conversation(parsed(kDocumentB).segments, "", "", "");
  EXPECT_TRUE(
      yaml.starts_with("title: \"A strange incident\"\ntags: [\"barrier\", \"danmaku\"]\ncharacters:\n  reimu:\n"))
      << yaml;
  EXPECT_NE(yaml.find("  - who: reimu\n    length: tiny\n    text: |-\n      \"Hmm...\"\n"), std::string::npos) << yaml;
  EXPECT_EQ(read(yaml).text(), kDocumentB);
}

}  // namespace
}  // namespace shori::test
