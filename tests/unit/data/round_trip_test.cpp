// Random conversations through every source form: the same text comes back, the same tokens are trained, none is lost.
#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "shori/data/pack_plan.h"
#include "shori/data/yaml_source.h"
#include "shori/util/json_text.h"
#include "tests/unit/data/blockml_samples.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

std::string json_line(const std::string& text, const std::string& id, const std::string& rating) {
  Json line = {{"text", text}, {"id", id}};
  if (!rating.empty()) line["rating"] = rating;
  return json_text(line) + "\n";
}

TEST(RoundTrip, YamlSaysTheSameAndIsStable) {
  test::RandomDocuments random(21);
  const std::vector<std::string> ids = {"", "a/b.blockml", "ü: #1", "yes", "- x", "0x10", "<<a>>", "\"q\" '"};
  const std::vector<std::string> categories = {"", "low", "top-pg13"}, ratings = {"", "pg13", "explicit", "unknown"};
  for (int i = 0; i < 600; ++i) {
    const std::vector<Segment> segments = random.segments();
    const std::string id = ids[random.below(ids.size())], category = categories[random.below(categories.size())],
                      rating = ratings[random.below(ratings.size())];
    const std::string yaml = render_yaml_conversation(segments, id, category, rating);
    Diagnostics diagnostics;
    const auto read = parse_yaml_conversation(yaml, "x.yaml", 1, {}, diagnostics);
    ASSERT_TRUE(read) << yaml << format_diagnostic(diagnostics.all().at(0));
    EXPECT_EQ(render(read->document), render(segments)) << yaml;
    EXPECT_EQ(read->id, id);
    EXPECT_EQ(read->category, category);
    EXPECT_EQ(read->rating, rating);
    EXPECT_EQ(render_yaml_conversation(read->document.segments, read->id, read->category, read->rating), yaml);
    EXPECT_EQ(split_yaml_documents(yaml).size(), 1u);
  }
}

class RoundTripTest : public DatasetTest {
 protected:
  static std::vector<std::vector<std::int32_t>> ids_of_samples(const std::vector<Sample>& samples) {
    std::vector<std::vector<std::int32_t>> ids;
    for (const Sample& sample : samples) ids.push_back(sample.ids);
    return ids;
  }
};

TEST_F(RoundTripTest, EverySourceFormTrainsTheSameTokens) {
  test::RandomDocuments random(22);
  options.sequence_len = 100000;
  std::string lines, documents;
  for (int i = 0; i < 40; ++i) {
    const std::string id = "c" + std::to_string(100 + i);
    const std::vector<Segment> segments = random.segments();
    folder.write("plain/" + id + ".blockml", render(segments));
    lines += json_line(render(segments), id, "");
    documents += (i > 0 ? "---\n" : "") + render_yaml_conversation(segments, id, "", "");
  }
  folder.write("all.jsonl", lines);
  folder.write("all.yaml", documents);
  const auto plain = load_good({entry("plain", "blockml")});
  const auto jsonl = load_good({entry("all.jsonl", "blockml_jsonl")});
  const auto yaml = load_good({entry("all.yaml", "blockml_yaml")});
  ASSERT_EQ(plain.train.size(), 40u);
  EXPECT_EQ(ids_of_samples(jsonl.train), ids_of_samples(plain.train));
  EXPECT_EQ(ids_of_samples(yaml.train), ids_of_samples(plain.train));
  EXPECT_EQ(yaml.fingerprint, jsonl.fingerprint);
}

// Copies, ratings, skipped, held out and over-long conversations in one data set: each conversation's tokens are on
// exactly one line of the ledger, and the sums are those of an own count.
TEST_F(RoundTripTest, EveryTokenOfARandomDataSetIsOnOneLine) {
  test::RandomDocuments random(23);
  options.dedupe = true;
  options.allow_overlap = true;
  for (int round = 0; round < 20; ++round) {
    std::string lines;
    std::int64_t unique = 0, filtered = 0, duplicates = 0;
    std::set<std::string> seen;
    std::vector<std::string> texts;
    for (int i = 0; i < 30; ++i) {
      const bool copy = !texts.empty() && random.below(4) == 0;
      const std::string text = copy ? texts[random.below(texts.size())] : render(random.segments());
      texts.push_back(text);
      const std::string rating = std::array{"pg13", "explicit", ""}[random.below(3)];
      lines += json_line(text, "c" + std::to_string(i), rating);
      const auto size = static_cast<std::int64_t>(test_tokenizer().encode(text).size());
      unique += size;
      if (rating != "pg13")
        filtered += size + 2;
      else if (!seen.insert(text).second)
        duplicates += size + 2;
    }
    folder.write("c.jsonl", lines);
    options.sequence_len = std::array{100000, 2000, 1400}[round % 3];
    options.overlong = round % 3 == 0 ? OverlongPolicy::kRaise : OverlongPolicy::kDrop;
    DataEntry data = entry("c.jsonl");
    data.rating = {"pg13"};
    diagnostics = Diagnostics();
    const Dataset dataset = load_datasets({data}, {}, options, &test_tokenizer(), diagnostics);
    for (const Diagnostic& each : diagnostics.all())
      EXPECT_EQ(each.severity, Severity::kWarning) << format_diagnostic(each);
    ASSERT_FALSE(dataset.train.empty());
    PlanOptions plan_options;
    plan_options.sequence_len = options.sequence_len;
    const LedgerCounts total = build_ledger(dataset, make_pack_plan(sample_costs(dataset.train), plan_options)).total;
    std::int64_t packed = 0;
    for (const Sample& sample : dataset.train) packed += static_cast<std::int64_t>(sample.ids.size());
    EXPECT_EQ(total.conversations, 30);
    EXPECT_EQ(total.unique, unique);
    EXPECT_EQ(total.tokens_in, unique + 2 * 30);
    EXPECT_EQ(total.tokens_packed, packed);
    EXPECT_EQ(total.dropped[static_cast<std::size_t>(DropRule::kRating)], filtered);
    if (options.overlong == OverlongPolicy::kRaise) {
      EXPECT_EQ(total.dropped[static_cast<std::size_t>(DropRule::kDuplicate)], duplicates);
    }
    EXPECT_EQ(total.tokens_in + total.tokens_repeated, packed + total.tokens_dropped() + total.tokens_held_out);
    EXPECT_EQ(total.tokens_packed, total.targets + total.masked + total.first_tokens);
  }
}

}  // namespace
}  // namespace shori
