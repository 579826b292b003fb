#include "shori/data/corpus_stats.h"

#include <gtest/gtest.h>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

TEST(LengthDistribution, QuantilesAreNearestRank) {
  LengthDistribution lengths;
  for (const std::int64_t length : {50, 15, 40, 20, 35}) lengths.add(length);
  lengths.sort();
  EXPECT_EQ(lengths.quantile(5, 100), 15);   // ceil(0.25) = 1
  EXPECT_EQ(lengths.quantile(20, 100), 15);  // exactly 1
  EXPECT_EQ(lengths.quantile(21, 100), 20);
  EXPECT_EQ(lengths.quantile(40, 100), 20);
  EXPECT_EQ(lengths.quantile(50, 100), 35);
  EXPECT_EQ(lengths.quantile(0, 1), 15);
  EXPECT_EQ(lengths.quantile(1, 1), 50);
  EXPECT_EQ(lengths.total(), 160);
  EXPECT_EQ(LengthDistribution().quantile(50, 100), 0);
}

TEST(LengthDistribution, BinsAndWhatIsBelow) {
  LengthDistribution lengths;
  for (const std::int64_t length : {0, 19, 20, 299, 300, 599, 600, 5000}) lengths.add(length);
  lengths.sort();
  const auto bins = lengths.histogram();
  ASSERT_EQ(bins.size(), 31u);
  EXPECT_EQ(bins[0], 2);
  EXPECT_EQ(bins[1], 1);
  EXPECT_EQ(bins[14], 1);
  EXPECT_EQ(bins[15], 1);
  EXPECT_EQ(bins[29], 1);
  EXPECT_EQ(bins[30], 2);
  EXPECT_EQ(lengths.count_below(300), 4);
}

class CorpusStatsTest : public DatasetTest {
 protected:
  CorpusStats read(const std::vector<DataEntry>& entries) {
    CorpusStats stats;
    options.observe = [&](const ReadConversation& conversation) { stats.add(conversation); };
    stats.finish(load_good(entries), options.sequence_len);
    return stats;
  }
};

TEST_F(CorpusStatsTest, CardTextOfTheWorkedExample) {
  folder.write("b.blockml", kDocumentB);
  EXPECT_EQ(read({entry("b.blockml")}).card_text(),
            "Total conversations: 1\nUser message count: 5 messages\nTotal unique tokens: 146 tokens\n"
            "Longest conversation: 148 tokens\nSize of the training data: 0.0 MB\n");
}

// Splitting changes the samples, not the source: repeated blocks are counted nowhere but in the tokens of the samples.
TEST_F(CorpusStatsTest, SplitConversationsCountOnce) {
  folder.write("b.blockml", kDocumentB);
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kSplit;
  const CorpusStats stats = read({entry("b.blockml")});
  EXPECT_EQ(stats.card_text(),
            "Total conversations: 1\nUser message count: 5 messages\nTotal unique tokens: 146 tokens\n"
            "Longest conversation: 84 tokens\nSize of the training data: 0.0 MB\n");
  const std::string text = stats.text(10);
  EXPECT_TRUE(text.starts_with("Conversations: 1\nMessages: 5\nTokens: 146\nLongest conversation: 146 tokens\nSize: "))
      << text;
  EXPECT_NE(text.find("\nSamples: 2\nLongest sample: 84 of 100 tokens, 16 spare\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  description       2                     43\n"), std::string::npos)
      << text;  // 15 of them again
}

TEST_F(CorpusStatsTest, EqualCountBoundsGrowEvenWhereLengthsAreEqual) {
  std::string text;
  for (int i = 0; i < 20; ++i) text += "▀message\nx▄\n";
  folder.write("a.blockml", text);
  const auto bounds = read({entry("a.blockml")}).equal_count_bounds();
  EXPECT_EQ(bounds, (std::array<std::int64_t, 8>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(CorpusStatsTest, TextsWithoutBlocksHaveTokensButNoMessages) {
  folder.write("c.jsonl", text_line("plain text"));
  const CorpusStats stats = read({entry("c.jsonl", "completion")});
  const std::string text = stats.text(10);
  EXPECT_TRUE(text.starts_with("Conversations: 1\nMessages: 0\nTokens: 2\n")) << text;
  EXPECT_NE(text.find("Tokens per message: -\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Messages below 300 tokens: 0.0 %\n"), std::string::npos) << text;
}

TEST_F(CorpusStatsTest, MergedFiguresAreTheSum) {
  folder.write("a.blockml", kDocumentA);
  folder.write("b.blockml", kDocumentB);
  CorpusStats sum = read({entry("a.blockml")});
  sum.merge(read({entry("b.blockml")}));
  const CorpusStats both = read({entry("a.blockml"), entry("b.blockml")});
  EXPECT_EQ(sum.text(10), both.text(10));
  EXPECT_EQ(sum.json(nullptr), both.json(nullptr));
  EXPECT_EQ(sum.svg(), both.svg());
}

TEST_F(CorpusStatsTest, NamesFromFilesAreEscaped) {
  folder.write("a.blockml",
               "▀message\n\xC2\x9B"
               "x: hi▄\n");  // a C1 control character, which terminals obey
  const std::string text = read({entry("a.blockml")}).text(10);
  EXPECT_EQ(text.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(text.find("\\x9b"
                      "x"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace shori
