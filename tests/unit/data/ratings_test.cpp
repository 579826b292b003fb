// The rating filter, and YAML and lint as the loader of data sets sees them.
#include <gtest/gtest.h>

#include "shori/data/lint.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class RatingsTest : public DatasetTest {
 protected:
  DataEntry filtered(const std::string& path, std::vector<std::string> rating) const {
    DataEntry result = entry(path);
    result.rating = std::move(rating);
    return result;
  }
  std::vector<std::string> trained(const Dataset& dataset) const {
    std::vector<std::string> ids;
    for (const Sample& sample : dataset.train) ids.push_back(dataset.conversations[sample.conversation].id);
    return ids;
  }
  static std::string conversation(const std::string& tags) {
    return "▀title\nT▄\n▀tags\n" + tags + "▄\n▀message\nA: " + tags + "▄\n";
  }
};

TEST_F(RatingsTest, OfLinesByTheirMember) {
  folder.write("a.jsonl", text_line(kDocumentA, ", \"id\": \"p\", \"rating\": \"pg13\"") +
                              text_line(kDocumentB, ", \"id\": \"e\", \"rating\": \"explicit\"") +
                              text_line(kDocumentB, ", \"id\": \"n\""));
  EXPECT_EQ(trained(load_good({filtered("a.jsonl", {"pg13"})})), (Texts{"p"}));
  EXPECT_EQ(trained(load_good({filtered("a.jsonl", {"explicit", "unknown"})})), (Texts{"e", "n"}));
  EXPECT_EQ(trained(load_good({filtered("a.jsonl", {})})), (Texts{"p", "e", "n"}));
}

TEST_F(RatingsTest, TheLedgerCountsWhatIsLeftOut) {
  folder.write("a.jsonl", text_line(kDocumentA, ", \"rating\": \"pg13\"") + text_line(kDocumentB));
  options.sequence_len = 100;  // the second would be split
  options.overlong = OverlongPolicy::kSplit;
  const Dataset dataset = load_good({filtered("a.jsonl", {"pg13"})});
  const FileLedger& ledger = dataset.file_ledgers[0];
  const auto rating = static_cast<std::size_t>(DropRule::kRating);
  EXPECT_EQ(ledger.counts.dropped[rating], 148);
  EXPECT_EQ(ledger.counts.tokens_in, 84 + 148);
  EXPECT_EQ(ledger.counts.tokens_packed, 84);
  EXPECT_EQ(ledger.counts.tokens_repeated, 0);
  ASSERT_EQ(ledger.dropped[rating].size(), 1u);
  EXPECT_EQ(ledger.dropped[rating][0].location, "a.jsonl:2");
}

TEST_F(RatingsTest, OfFilesByRatingsYamlBesideThem) {
  folder.write("d/a.blockml", conversation("a"));
  folder.write("d/b.blockml", conversation("b"));
  folder.write("d/c.blockml", conversation("c"));
  folder.write("d/ratings.yaml", "a.blockml: pg13\nd/b.blockml: explicit\nz.blockml: pg13\n");
  const Dataset dataset = load_good({filtered("d", {"pg13"})});
  EXPECT_EQ(trained(dataset), (Texts{"d/a.blockml"}));
  ASSERT_EQ(dataset.unknown_keys.size(), 1u);
  EXPECT_EQ(dataset.unknown_keys[0],
            "d/ratings.yaml: 1 names of no conversation that needs a rating, the first `z.blockml`");
  EXPECT_TRUE(dataset.ignored_files.empty()) << "the file of ratings is no data";
  folder.write("d/ratings.yaml", "a.blockml: pg31\n");
  load({filtered("d", {"pg13"})});
  EXPECT_EQ(problems(), (Texts{"E0312 d/ratings.yaml:1:12"}));
}

TEST_F(RatingsTest, OfTagsByTheirWords) {
  folder.write("d/a.blockml", conversation("magic, NSFW"));
  folder.write("d/b.blockml", conversation("very lewd, x"));
  folder.write("d/c.blockml", conversation("cute nsfwish"));
  DataEntry wanted = filtered("d", {"explicit"});
  wanted.tags_rating[1] = {"nsfw", "very lewd"};
  EXPECT_EQ(trained(load_good({wanted})), (Texts{"d/a.blockml", "d/b.blockml"}));
  wanted.tags_rating[0] = {"magic", "cute"};
  EXPECT_EQ(trained(load_good({wanted})), (Texts{"d/a.blockml", "d/b.blockml"})) << "explicit wins";
  wanted.rating = {"pg13"};
  EXPECT_EQ(trained(load_good({wanted})), (Texts{"d/c.blockml"}));
}

TEST_F(RatingsTest, TheFileOfRatingsComesBeforeTags) {
  folder.write("d/a.blockml", conversation("magic, NSFW"));
  folder.write("d/b.blockml", conversation("magic, NSFW"));
  folder.write("d/ratings.yaml", "a.blockml: pg13\n");
  DataEntry wanted = filtered("d", {"pg13"});
  wanted.tags_rating[1] = {"nsfw"};
  EXPECT_EQ(trained(load_good({wanted})), (Texts{"d/a.blockml"}));
  wanted.rating = {"explicit"};
  EXPECT_EQ(trained(load_good({wanted})), (Texts{"d/b.blockml"}));
}

TEST_F(RatingsTest, HeldOutAreTheLastOfThoseThatRemain) {
  folder.write("a.jsonl", text_line(kDocumentA, ", \"id\": \"p\", \"rating\": \"pg13\"") +
                              text_line(kDocumentB, ", \"id\": \"q\", \"rating\": \"pg13\"") +
                              text_line(kDocumentB, ", \"id\": \"n\""));
  options.val_set_size = 1;
  const Dataset dataset = load_good({filtered("a.jsonl", {"pg13"})});
  EXPECT_EQ(trained(dataset), (Texts{"p"}));
  ASSERT_EQ(dataset.held_out.size(), 1u);
  ASSERT_EQ(dataset.held_out[0].samples.size(), 1u);
  EXPECT_EQ(dataset.conversations[dataset.held_out[0].samples[0].conversation].id, "q");
}

TEST_F(RatingsTest, TheFingerprintSeesTheFilter) {
  folder.write("a.jsonl", text_line(kDocumentA, ", \"rating\": \"pg13\"") + text_line(kDocumentB));
  EXPECT_NE(load_good({filtered("a.jsonl", {"pg13"})}).fingerprint, load_good({entry("a.jsonl")}).fingerprint);
}

class YamlData : public DatasetTest {};

TEST_F(YamlData, EachDocumentIsAConversation) {
  folder.write("a.yaml", "messages: [{text: one}]\n");
  folder.write("b.yaml",
               "# two\n---\nmessages: [{text: two}]\n---\nid: three\ncategory: high\nmessages: [{text: x}]\n");
  const Dataset dataset = load_good({entry("a.yaml"), entry("b.yaml", "blockml_yaml")});
  EXPECT_EQ(ids_of(dataset), (Texts{"a.yaml", "b.yaml:2", "three"}));
  EXPECT_EQ(dataset.conversations[2].category, "high");
  EXPECT_EQ(dataset.conversations[0].text_sha256, sha256_hex("▀message\none▄\n"));
  for (const FileLedger& ledger : dataset.file_ledgers)
    EXPECT_EQ(ledger.counts.bytes_in, ledger.counts.bytes_samples + ledger.counts.bytes_between);
}

TEST_F(YamlData, TrainsTheSameIdsAsTheCanonicalText) {
  folder.write("a.yaml", "title: T\nmessages: [{text: one}]\n");
  folder.write("a.blockml", "▀title\nT▄\n▀message\none▄\n");
  const Dataset dataset = load_good({entry("a.yaml"), entry("a.blockml")});
  ASSERT_EQ(dataset.train.size(), 2u);
  EXPECT_EQ(dataset.train[0].ids, dataset.train[1].ids);
}

TEST_F(YamlData, ProblemsOfAllDocumentsInOneRun) {
  folder.write("a.yaml", "messages: [{text: one}]\n---\nmessages: []\n---\ntitel: x\nmessages: [{text: x}]\n");
  folder.write("b.yaml", "messages: [{text: one}]\r\n");  // CR LF is no problem
  folder.write("c.yaml", "# nothing\n");
  load({entry("a.yaml"), entry("b.yaml"), entry("c.yaml")});
  EXPECT_EQ(problems(), (Texts{"E0306 a.yaml:3:11", "E0312 a.yaml:5:1", "E0306 c.yaml:1:1"}));
}

class LintedData : public DatasetTest {
 protected:
  LintedData() {
    auto rules = std::make_shared<LintOptions>();
    rules->errors_only = true;
    rules->levels[static_cast<std::size_t>(LintRule::kThoughts)] = LintLevel::kError;
    options.lint = rules;
  }
};

TEST_F(LintedData, RulesAtLevelErrorRefuseTheData) {
  folder.write("a.blockml", "▀message\nA: _x▄\n");
  folder.write("b.jsonl", text_line("▀message\nA: _x_▄\n") + text_line("▀message\nA: x▁▄\n"));
  folder.write("c.yaml", "messages:\n  - text: _y\n  - text: '* z'\n");
  load({entry("a.blockml"), entry("b.jsonl"), entry("c.yaml")});
  EXPECT_EQ(problems(), (Texts{"E0319 a.blockml:2:4", "E0319 b.jsonl:2", "E0319 c.yaml:2:11"}));
  EXPECT_EQ(diagnostics.all()[0].rule, "prose/thoughts");
  EXPECT_EQ(diagnostics.all()[1].rule, "text/u2581");
}

TEST_F(LintedData, WithoutRulesNothingIsRefused) {
  folder.write("a.blockml", "▀message\nA: _x▁▄\n");
  options.lint = nullptr;
  load_good({entry("a.blockml")});
}

}  // namespace
}  // namespace shori
