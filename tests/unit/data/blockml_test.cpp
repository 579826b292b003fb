#include "shori/data/blockml.h"

#include <gtest/gtest.h>

#include "shori/util/hash.h"
#include "shori/util/utf8.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using test::kDocumentA;
using test::parsed;

std::size_t counted(const BlockmlDocument& document, Variant variant) {
  return document.variants[static_cast<std::size_t>(variant)];
}

bool same_content(const std::vector<Segment>& a, const std::vector<Segment>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Segment& x, const Segment& y) {
    return x.role == y.role && x.hint == y.hint && x.body == y.body;
  });
}

TEST(Blockml, DocumentAIsTheOneThatIsDescribed) {
  EXPECT_EQ(kDocumentA.size(), 215u);
  EXPECT_EQ(count_code_points(kDocumentA), 195u);
  EXPECT_EQ(sha256_hex(kDocumentA), "99215864f908368e7777f39f019920418650c291bf407eab6f4316e84d15f240");
  EXPECT_EQ(test::kDocumentB.size(), 395u);
}

TEST(Blockml, ParsesDocumentA) {
  const BlockmlDocument document = parsed(kDocumentA);
  ASSERT_EQ(document.segments.size(), 6u);
  const std::vector<Role> roles = {Role::kTitle,   Role::kTags, Role::kDescription,
                                   Role::kMessage, Role::kInst, Role::kMessage};
  const std::vector<std::string> bodies = {"A strange incident", "barrier, danmaku", "Reimu\n**Name:** Reimu",
                                           "Reimu: \"Hmm...\"",  "Marisa is bored.", "Marisa: _Ugh._ \"Boring.\""};
  const std::vector<std::size_t> lines = {1, 3, 5, 8, 10, 11};
  for (std::size_t i = 0; i < roles.size(); ++i) {
    EXPECT_EQ(document.segments[i].role, roles[i]);
    EXPECT_EQ(document.segments[i].body, bodies[i]);
    EXPECT_EQ(document.segments[i].line, lines[i]);
    EXPECT_EQ(document.segments[i].column, 1u);
  }
  EXPECT_EQ(document.segments[3].hint, LengthHint::kTiny);
  EXPECT_EQ(document.segments[5].hint, LengthHint::kNone);
  EXPECT_EQ(kDocumentA.substr(document.segments[4].begin, document.segments[4].end - document.segments[4].begin),
            "[INST] Marisa is bored. [/INST]");
  EXPECT_EQ(document.variants, VariantCounts{});
  EXPECT_EQ(render(document), kDocumentA);
}

TEST(Blockml, RendersEachAcceptedVariantCanonically) {
  struct Case {
    std::string text, canonical;
    Variant variant;
    std::size_t count;
  };
  const std::string message = "▀message\nx▄\n";
  const std::vector<Case> cases = {
      {"▀title A strange incident▄\n" + message, "▀title\nA strange incident▄\n" + message, Variant::kOneLine, 1},
      {"▀message (length: medium) Reimu: x▄\n", "▀message (length: medium)\nReimu: x▄\n", Variant::kOneLine, 1},
      {"▀message (OOC: hi) Reimu: x▄\n", "▀message\n(OOC: hi) Reimu: x▄\n", Variant::kOneLine, 1},
      {"▀description Reimu\ncalm▄\n" + message, "▀description\nReimu\ncalm▄\n" + message, Variant::kOneLine, 1},
      {"▀message   x▄\n", message, Variant::kOneLine, 1},
      {"▀message\nx▄", message, Variant::kSeparator, 1},
      {"\n ▀message\nx▄\n\n\t▀message\nx▄ ▀message\nx▄▀message\nx▄\n\n", message + message + message + message,
       Variant::kSeparator, 5},
      {"▀message  \nx▄\n▀message (length: nano) \ny▄\n", message + "▀message (length: nano)\ny▄\n",
       Variant::kHeadSpaces, 2},
      {"▀lore\n x ▄\n" + message, "▀lore\nx▄\n" + message, Variant::kTrimmed, 1},
      {"▀lore\n\n\tx\n▄\n" + message, "▀lore\nx▄\n" + message, Variant::kTrimmed, 1},
      {"[INST]be safe[/INST]\n" + message, "[INST] be safe [/INST]\n" + message, Variant::kInstSpaces, 1},
      {"[INST]\nbe safe [/INST]\n" + message, "[INST] be safe [/INST]\n" + message, Variant::kInstSpaces, 1},
      {"[INST]  be safe [/INST]\n" + message, "[INST] be safe [/INST]\n" + message, Variant::kTrimmed, 1},
  };
  for (const Case& c : cases) {
    const BlockmlDocument document = parsed(c.text);
    EXPECT_EQ(render(document), c.canonical) << c.text;
    EXPECT_EQ(counted(document, c.variant), c.count) << c.text;
    EXPECT_EQ(parsed(c.canonical).variants, VariantCounts{}) << c.canonical;
  }
}

TEST(Blockml, KeepsBytesInsideABodyAndTakesNoBreakSpaceAsText) {
  const std::string text = "▀message\n\xC2\xA0Reimu:  a\t b\n\n  c <x> [INST] [/INST]\xC2\xA0▄\n";
  EXPECT_EQ(render(parsed(text)), text);
}

TEST(Blockml, FindsSpeakers) {
  const auto name = [](std::string_view body) {
    const auto speaker = find_speaker(body);
    return speaker ? std::string(speaker->name) + '|' + std::string(body.substr(speaker->text_begin))
                   : std::string("none");
  };
  EXPECT_EQ(name("Reimu: \"Hi\""), "Reimu|\"Hi\"");
  EXPECT_EQ(name("Aya:  x"), "Aya| x");
  EXPECT_EQ(name("Aya:\nx\ny: z"), "Aya|x\ny: z");
  EXPECT_EQ(name("He said: \"no\""), "He said|\"no\"");
  EXPECT_EQ(name("Dr. (old) O'Neil: x"), "Dr. (old) O'Neil|x");
  EXPECT_EQ(name("八雲 紫: x"), "八雲 紫|x");
  for (const char* narration :
       {"Reimu:", "Reimu:x", "Reimu : x", "no colon", "first line\nAya: x", "\"Hi\": x", "_Aya_: x", "*Aya: x",
        "(Aya): x", "[Aya]: x", ": x", "A \"B\": x", "at 10:30 Aya: x", "tab\there: x", "> Aya: x", "`Aya: x"}) {
    EXPECT_EQ(name(narration), "none") << narration;
  }
  std::string longest;
  for (int i = 0; i < 64; ++i) longest += "é";
  EXPECT_TRUE(find_speaker(longest + ": x"));
  EXPECT_FALSE(find_speaker(longest + "e: x"));
}

TEST(Blockml, NamesOfRolesLengthsAndVariants) {
  for (std::size_t i = 0; i < kRoleCount; ++i)
    EXPECT_EQ(find_role(role_name(static_cast<Role>(i))), static_cast<Role>(i));
  EXPECT_FALSE(find_role("Message"));
  EXPECT_EQ(length_name(LengthHint::kNone), "");
  EXPECT_EQ(length_name(LengthHint::kEnormous), "enormous");
  for (std::size_t i = 0; i < kVariantCount; ++i) EXPECT_FALSE(variant_name(static_cast<Variant>(i)).empty());
}

TEST(Blockml, ParsesEveryRoleAndLength) {
  for (std::size_t hint = 1; hint <= 9; ++hint) {
    const std::string text = "▀message (length: " + std::string(length_name(static_cast<LengthHint>(hint))) + ")\nx▄\n";
    const BlockmlDocument document = parsed(text);
    EXPECT_EQ(document.segments.at(0).hint, static_cast<LengthHint>(hint));
    EXPECT_EQ(render(document), text);
  }
  for (std::size_t role = 0; role < kRoleCount - 1; ++role) {
    const std::string text = "▀" + std::string(role_name(static_cast<Role>(role))) + "\nx▄\n▀message\ny▄\n";
    EXPECT_EQ(parsed(text).segments.at(0).role, static_cast<Role>(role));
  }
}

TEST(Blockml, RenderedRandomDocumentsParseBackToThemselves) {
  test::RandomDocuments random(1);
  for (int i = 0; i < 400; ++i) {
    const std::vector<Segment> segments = random.segments();
    const std::string text = render(segments);
    const BlockmlDocument document = parsed(text);
    ASSERT_TRUE(same_content(document.segments, segments)) << text;
    EXPECT_EQ(render(document), text);
    EXPECT_EQ(document.variants, VariantCounts{});
    std::string joined;
    for (const Segment& segment : document.segments) {
      EXPECT_EQ(segment.begin, joined.size());
      joined += render_segment(segment);
      EXPECT_EQ(segment.end + 1, joined.size());
    }
  }
}

// Texts of random fragments of the grammar: no crash, problems in order of position, and what is accepted renders to
// something that means the same.
TEST(Blockml, RandomTextsAreRefusedOrRenderStably) {
  const std::vector<std::string> fragments = {"▀",
                                              "▄",
                                              "▀message",
                                              "▀title",
                                              "[INST]",
                                              "[/INST]",
                                              " ",
                                              "\n",
                                              "\t",
                                              " (length: ",
                                              "tiny",
                                              ")",
                                              "(LENGTH",
                                              "Reimu:",
                                              "x",
                                              "é",
                                              "▀message\nx▄",
                                              "▀lore y▄\n",
                                              "[INST] z [/INST]\n",
                                              "\xE2\x96",
                                              "<s>"};
  std::mt19937 random(7);
  std::size_t accepted = 0;
  for (int i = 0; i < 60000; ++i) {
    std::string text;
    for (std::size_t n = random() % 9; n > 0; --n)
      text += fragments[random() % (fragments.size() - (random() % 8 == 0 ? 0 : 2))];
    Diagnostics diagnostics;
    const auto document = parse_blockml(text, {"f", 0}, diagnostics);
    ASSERT_EQ(document.has_value(), !diagnostics.has_errors()) << text;
    for (std::size_t k = 1; k < diagnostics.all().size(); ++k) {
      const SourceLocation &a = diagnostics.all()[k - 1].location, &b = diagnostics.all()[k].location;
      ASSERT_LE(std::pair(a.line, a.column), std::pair(b.line, b.column)) << text;
    }
    if (!document) continue;
    ++accepted;
    const std::string canonical = render(*document);
    const BlockmlDocument again = parsed(canonical);
    ASSERT_TRUE(same_content(again.segments, document->segments)) << text;
    ASSERT_EQ(render(again), canonical) << text;
    ASSERT_EQ(again.variants, VariantCounts{}) << text;
  }
  EXPECT_GT(accepted, 500u);
}

}  // namespace
}  // namespace shori
