#include "shori/data/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using Costs = std::vector<std::int64_t>;
using test::mistral_tokenizer;
using test::parsed;

SplitOptions budget(std::int64_t ids) {
  SplitOptions options;
  options.budget = ids;
  return options;
}

struct Conversation {
  std::vector<Segment> segments;
  EncodedSample whole;
  Costs costs;
  explicit Conversation(std::vector<Segment> all)
      : segments(std::move(all)),
        whole(encode_segments(segments, mistral_tokenizer(), {}, true, true)),
        costs(segment_costs(whole, segments)) {}
  explicit Conversation(const std::string& text) : Conversation(parsed(text).segments) {}

  SplitResult split(const SplitOptions& options) const { return split_conversation(segments, costs, options); }
  SplitResult truncate(const SplitOptions& options) const { return truncate_conversation(segments, costs, options); }
  EncodedSample encode(const Part& part, bool bos = true) const {
    return encode_part(whole, segments, part, mistral_tokenizer(), {}, bos);
  }
  std::string text(const Part& part) const {
    std::string result;
    for (const std::size_t index : part.segments) append_segment(segments[index], result);
    return result;
  }
  // As one sample, with BOS and EOS as the options say.
  std::int64_t length(const SplitOptions& options) const {
    return static_cast<std::int64_t>(mistral_tokenizer().encode(render(segments)).size()) + (options.bos ? 1 : 0) +
           (wants_eos(options.eos, true) ? 1 : 0);
  }
};

std::vector<std::int64_t> lengths(const SplitResult& result) {
  std::vector<std::int64_t> ids;
  for (const Part& part : result.parts) ids.push_back(part.ids);
  return ids;
}

TEST(Split, CostsOfDocumentB) {
  const Conversation b(test::kDocumentB);
  EXPECT_EQ(b.costs, (Costs{8, 11, 15, 18, 13, 16, 10, 14, 13, 15, 12}));
  EXPECT_EQ(b.length(budget(0)), 148);
  EXPECT_EQ(mistral_tokenizer().encode(test::kDocumentB).size(), 146u);
}

TEST(Split, PartsOfDocumentB) {
  struct Case {
    std::int64_t budget;
    Costs parts;
    std::int64_t repeated_blocks, repeated_prefixes;
    std::vector<std::size_t> repeated;
  };
  const std::vector<Case> cases = {{1000, {148}, 0, 0, {}},         {148, {148}, 0, 0, {}},
                                   {120, {108, 68}, 25, 1, {6, 2}}, {110, {108, 68}, 25, 1, {6, 2}},
                                   {100, {84, 82}, 15, 1, {2}},     {90, {84, 82}, 15, 1, {2}}};
  const Conversation b(test::kDocumentB);
  for (const Case& c : cases) {
    const SplitResult result = b.split(budget(c.budget));
    EXPECT_EQ(lengths(result), c.parts) << c.budget;
    EXPECT_EQ(result.repeated_blocks, c.repeated_blocks) << c.budget;
    EXPECT_EQ(result.repeated_prefixes, c.repeated_prefixes) << c.budget;
    EXPECT_EQ(result.parts.back().repeated, c.repeated) << c.budget;
    for (const Part& part : result.parts) {
      EXPECT_EQ(static_cast<std::int64_t>(b.encode(part).ids.size()), part.ids);
    }
  }
}

TEST(Split, APartThatOpensWithATitleStartsWithIt) {
  const Conversation b(test::kDocumentB);
  const SplitResult result = b.split(budget(100));
  EXPECT_EQ(b.text(result.parts.at(1)),
            "▀title\nThe shrine at night▄\n▀description\nReimu\n**Name:** Reimu▄\n"
            "▀message\nReimu: \"It is quiet.\"▄\n▀description\nCirno\n**Name:** Cirno▄\n"
            "▀message\nCirno: \"Eye am the strongest!\"▄\n▀message\nReimu: \"No.\"▄\n");
}

// Every unit its own part: a budget that holds the longest of them.
SplitResult one_unit_each(const Conversation& c, bool repeat_scenario = false) {
  SplitOptions options = budget(1);
  options.repeat_scenario = repeat_scenario;
  SplitResult result = c.split(options);
  while (result.parts.empty()) {
    options.budget = std::max(options.budget + 1, result.needed);
    result = c.split(options);
  }
  return result;
}

TEST(Split, RepeatedBlocksAreTheStateInItsOrder) {
  const Conversation c(
      "[INST] safe [/INST]\n"
      "▀title\nOne▄\n▀tags\na▄\n▀lore\nold▄\n▀scenario\nsoon▄\n▀description\nAya\nyoung▄\n▀description\nBeni\nx▄\n"
      "▀message\nfirst " +
      std::string(400, 'x') +
      "▄\n"
      "▀lore\nnew▄\n▀description\nAya\ngrown▄\n[INST] a note [/INST]\n▀message\nsecond " +
      std::string(300, 'y') +
      "▄\n▀ooc\nbrb▄\n"
      "▀tags\nb▄\n▀message\nthird " +
      std::string(300, 'z') +
      "▄\n"
      "▀title\nTwo▄\n▀tags\nc▄\n▀lore\nown▄\n▀message\nfourth " +
      std::string(200, 'w') + "▄\n▀scenario\nat the end▄\n");
  const SplitResult plain = one_unit_each(c);
  ASSERT_EQ(plain.parts.size(), 4u);
  EXPECT_EQ(plain.parts[0].repeated, (std::vector<std::size_t>{}));
  EXPECT_EQ(plain.parts[1].segments, (std::vector<std::size_t>{1, 2, 3, 5, 6, 0, 8, 9, 10, 11, 12}));
  EXPECT_EQ(plain.parts[2].segments, (std::vector<std::size_t>{1, 2, 3, 8, 9, 6, 0, 13, 14}));
  EXPECT_EQ(plain.parts[3].segments, (std::vector<std::size_t>{15, 16, 3, 8, 9, 6, 0, 17, 18, 19}));
  EXPECT_EQ(plain.parts[3].repeated, (std::vector<std::size_t>{3, 8, 9, 6, 0}));
  EXPECT_EQ(plain.repeated_prefixes, 3);  // part 1 starts with [INST], the later ones with a block
  const SplitResult scenario = one_unit_each(c, true);
  EXPECT_EQ(scenario.parts.at(1).segments, (std::vector<std::size_t>{1, 2, 3, 5, 6, 4, 0, 8, 9, 10, 11, 12}));
}

TEST(Split, AnOocBeforeTheFirstMessageIsNotHeader) {
  const Conversation c("▀title\nt▄\n▀ooc\nhello▄\n▀lore\nl▄\n▀message\n" + std::string(90, 'a') + "▄\n▀message\nb▄\n");
  const SplitResult result = one_unit_each(c);
  ASSERT_EQ(result.parts.size(), 2u);
  EXPECT_EQ(result.parts[0].segments, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(result.parts[1].segments, (std::vector<std::size_t>{0, 2, 4}));
}

TEST(Split, ATitleWithoutTagsDropsTheOldTags) {
  const Conversation c("▀title\nt▄\n▀tags\na▄\n▀message\n" + std::string(90, 'a') + "▄\n▀title\nu▄\n▀message\n" +
                       std::string(90, 'b') + "▄\n▀message\n" + std::string(90, 'c') + "▄\n");
  const SplitResult result = one_unit_each(c);
  ASSERT_EQ(result.parts.size(), 3u);
  EXPECT_EQ(result.parts[1].segments, (std::vector<std::size_t>{3, 4}));
  EXPECT_EQ(result.parts[2].segments, (std::vector<std::size_t>{3, 5}));
}

TEST(Split, ExactFitTrainsWholeAndOneMoreDoesNot) {
  const Conversation b(test::kDocumentB);
  for (const EosRule rule : {EosRule::kEnd, EosRule::kConversation, EosRule::kNever}) {
    for (const bool bos : {true, false}) {
      SplitOptions options = budget(0);
      options.eos = rule;
      options.bos = bos;
      options.budget = b.length(options);
      EXPECT_EQ(options.budget, 146 + (bos ? 1 : 0) + (rule == EosRule::kNever ? 0 : 1));
      const SplitResult whole = b.split(options);
      ASSERT_EQ(whole.parts.size(), 1u);
      EXPECT_EQ(whole.parts[0].ids, options.budget);
      EXPECT_EQ(whole.parts[0].has_eos, rule != EosRule::kNever);
      --options.budget;
      EXPECT_EQ(b.split(options).parts.size(), 2u);
    }
  }
}

TEST(Split, EosOnlyWhereThePolicyWantsIt) {
  const Conversation b(test::kDocumentB);
  SplitOptions options = budget(110);
  options.eos = EosRule::kConversation;
  const SplitResult result = b.split(options);
  EXPECT_EQ(lengths(result), (Costs{107, 68}));
  EXPECT_FALSE(result.parts[0].has_eos);
  EXPECT_TRUE(result.parts[1].has_eos);
  EXPECT_EQ(b.encode(result.parts[0]).ids.back(), 13);
  EXPECT_EQ(b.encode(result.parts[1]).ids.back(), 2);
  options.budget = 107;
  EXPECT_EQ(lengths(b.split(options)), (Costs{107, 68}));
  options.eos = EosRule::kNever;
  EXPECT_EQ(lengths(b.split(options)), (Costs{107, 67}));
}

TEST(Split, AUnitThatDoesNotFitIsNamed) {
  const Conversation b(test::kDocumentB);
  const SplitResult first = b.split(budget(54));
  EXPECT_TRUE(first.parts.empty());
  // BOS, EOS, dummy prefix, 34 of the header, 29 of the second unit. The first one does not fit either, but needs only 55.
  EXPECT_EQ(first.needed, 66);
  EXPECT_EQ(first.needed_at, 4u);
  const Conversation long_end(test::kDocumentB + "▀message\n" + std::string(300, 'q') + "▄\n");
  const SplitResult last = long_end.split(budget(100));
  EXPECT_TRUE(last.parts.empty());
  EXPECT_GT(last.needed, 100);
  EXPECT_EQ(last.needed_at, 11u);
  const Conversation two(test::kDocumentB + "▀message\n" + std::string(200, 'q') + "▄\n▀message\n" +
                         std::string(300, 'q') + "▄\n");
  const SplitResult longer = two.split(budget(100));
  EXPECT_EQ(longer.needed_at, 12u) << "not the first, but the one that needs most";
  EXPECT_FALSE(two.split(budget(longer.needed)).parts.empty());
  EXPECT_TRUE(two.split(budget(longer.needed - 1)).parts.empty());
}

TEST(Split, TruncationKeepsWholeUnitsAndCountsTheRest) {
  const Conversation b(test::kDocumentB);
  const SplitResult cut = b.truncate(budget(110));
  ASSERT_EQ(cut.parts.size(), 1u);
  EXPECT_EQ(cut.parts[0].ids, 108);
  EXPECT_TRUE(cut.parts[0].has_eos);
  EXPECT_EQ(cut.removed, 40);
  EXPECT_EQ(cut.parts[0].ids + cut.removed, b.length(budget(110)));
  SplitOptions at_end = budget(110);
  at_end.eos = EosRule::kConversation;
  EXPECT_FALSE(b.truncate(at_end).parts.at(0).has_eos);
  EXPECT_EQ(b.truncate(budget(148)).removed, 0);
  EXPECT_EQ(b.truncate(budget(54)).needed, 55);
  EXPECT_TRUE(b.truncate(budget(54)).parts.empty());
}

TEST(Split, CostsAreLengthsAloneOnRandomDocuments) {
  test::RandomDocuments random(31);
  for (int i = 0; i < 150; ++i) {
    const Conversation c(random.segments());
    std::int64_t sum = 0;
    for (std::size_t k = 0; k < c.segments.size(); ++k) {
      const auto alone = static_cast<std::int64_t>(mistral_tokenizer().encode(render_segment(c.segments[k])).size());
      ASSERT_EQ(c.costs[k], alone - (c.segments[k].is_block() ? 1 : 0)) << render_segment(c.segments[k]);
      sum += c.costs[k];
    }
    const auto whole = static_cast<std::int64_t>(mistral_tokenizer().encode(render(c.segments)).size());
    EXPECT_EQ(whole, sum + (c.segments.front().is_block() ? 1 : 0));
  }
}

TEST(Split, RandomDocumentsKeepEverySegmentOnceAndEveryIdentity) {
  test::RandomDocuments random(32);
  std::size_t several = 0;
  for (int i = 0; i < 300; ++i) {
    const Conversation c(random.segments());
    SplitOptions options = budget(static_cast<std::int64_t>(60 + random.below(500)));
    options.eos = static_cast<EosRule>(random.below(3));
    options.bos = random.below(2) == 0;
    options.repeat_scenario = random.below(2) == 0;
    const SplitResult result = c.split(options);
    if (result.parts.empty()) {
      EXPECT_GT(result.needed, options.budget);
      options.budget = result.needed;
      EXPECT_FALSE(c.split(options).parts.empty());
      continue;
    }
    several += result.parts.size() > 1 ? 1 : 0;
    std::vector<std::size_t> own;
    std::int64_t total = 0, eos = 0;
    for (const Part& part : result.parts) {
      EXPECT_LE(part.ids, options.budget);
      total += part.ids;
      eos += part.has_eos ? 1 : 0;
      std::size_t messages = 0;
      for (const std::size_t index : part.segments) {
        messages += c.segments[index].role == Role::kMessage ? 1 : 0;
        const bool repeated = std::find(part.repeated.begin(), part.repeated.end(), index) != part.repeated.end();
        if (!repeated) own.push_back(index);
      }
      EXPECT_GE(messages, 1u);
      EXPECT_EQ(static_cast<std::int64_t>(c.encode(part, options.bos).ids.size()), part.ids);
      EXPECT_EQ(render(parsed(c.text(part))), c.text(part));
    }
    std::vector<std::size_t> all(c.segments.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    EXPECT_EQ(own, all);
    const auto later = static_cast<std::int64_t>(result.parts.size()) - 1;
    const std::int64_t first_eos = wants_eos(options.eos, true) ? 1 : 0;
    EXPECT_EQ(total, c.length(options) + result.repeated_blocks + result.repeated_prefixes + (options.bos ? later : 0) +
                         eos - first_eos);
  }
  EXPECT_GT(several, 100u);
}

// A part is put together from the ids of the whole conversation. Any choice of segments in any order must give what
// encoding their text gives, bit for bit; half of the conversations begin with an instruction, whose ids differ there.
TEST(Split, JoinedSegmentsAreTheIdsOfTheirText) {
  test::RandomDocuments random(33);
  MaskOptions mask;
  mask.train_on_inputs = false;
  std::size_t moved_instructions = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<Segment> segments = random.segments();
    if (i % 2 == 0) segments.insert(segments.begin(), random.segment(Role::kInst));
    const bool bos = random.below(2) == 0, eos = random.below(2) == 0;
    const EncodedSample whole =
        encode_segments(segments, mistral_tokenizer(), mask, random.below(2) == 0, random.below(2) == 0);
    std::vector<std::size_t> chosen;
    for (std::size_t n = random.below(12) + 1; n > 0; --n) chosen.push_back(random.below(segments.size()));
    std::vector<Segment> alone;
    for (const std::size_t index : chosen) alone.push_back(segments[index]);
    for (std::size_t k = 0; k < chosen.size(); ++k)
      moved_instructions += !alone[k].is_block() && (k == 0) != (chosen[k] == 0) ? 1 : 0;
    const EncodedSample joined = join_segments(whole, segments, chosen, mistral_tokenizer(), mask, bos, eos);
    const EncodedSample expected = encode_segments(alone, mistral_tokenizer(), mask, bos, eos);
    ASSERT_EQ(joined.ids, expected.ids) << render(alone);
    EXPECT_EQ(joined.trained, expected.trained);
    EXPECT_EQ(joined.roles, expected.roles);
    EXPECT_EQ(joined.regions, expected.regions);
    EXPECT_EQ(joined.bounds, expected.bounds);
  }
  EXPECT_GT(moved_instructions, 50u);
}

}  // namespace
}  // namespace shori
