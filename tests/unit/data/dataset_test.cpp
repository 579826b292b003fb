#include "shori/data/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

using Ints = std::vector<std::int32_t>;

TEST_F(DatasetTest, ABlockmlFileIsOneSample) {
  folder.write("a.blockml", kDocumentA);
  const Dataset dataset = load_good({entry("a.blockml")});
  ASSERT_EQ(dataset.train.size(), 1u);
  const Sample& sample = dataset.train[0];
  ASSERT_EQ(sample.ids.size(), 84u);
  EXPECT_EQ(Ints(sample.ids.begin(), sample.ids.begin() + 5), (Ints{1, 28705, 30374, 3901, 13}));
  EXPECT_EQ(Ints(sample.ids.end() - 3, sample.ids.end()), (Ints{30213, 13, 2}));
  EXPECT_EQ(std::count(sample.trained.begin(), sample.trained.end(), 1), 84);
  EXPECT_EQ(dataset.conversations[0].id, "a.blockml");
  EXPECT_EQ(dataset.conversations[0].text_sha256, sha256_hex(kDocumentA));
  EXPECT_EQ(dataset.files[0].sha256, sha256_hex(kDocumentA));
  EXPECT_EQ(dataset.location_of(sample), "a.blockml");
}

TEST_F(DatasetTest, OtherSpellingsTrainTheCanonicalText) {
  std::string one_line = kDocumentA;
  one_line.replace(one_line.find("title\nA"), 7, "title A");
  folder.write("a.blockml", kDocumentA);
  folder.write("b.txt", one_line);
  const Dataset dataset = load_good({entry("a.blockml"), entry("b.txt")});
  EXPECT_EQ(dataset.train[0].ids, dataset.train[1].ids);
  EXPECT_EQ(dataset.conversations[0].text_sha256, dataset.conversations[1].text_sha256);
}

TEST_F(DatasetTest, Masks) {
  folder.write("a.blockml", kDocumentA);
  options.train_on_inputs = false;
  const Sample sample = load_good({entry("a.blockml")}).train[0];
  std::vector<std::size_t> trained;
  for (std::size_t i = 0; i < sample.trained.size(); ++i) {
    if (sample.trained[i]) trained.push_back(i);
  }
  std::vector<std::size_t> expected = {44, 45, 46, 47, 48, 49, 50, 51, 52, 70, 71,
                                       72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 83};
  EXPECT_EQ(trained, expected);
  EXPECT_EQ(sample.roles[44], static_cast<std::uint8_t>(TokenRole::kMessage));
  EXPECT_EQ(sample.roles[83], static_cast<std::uint8_t>(TokenRole::kEos));
}

TEST_F(DatasetTest, JsonlLinesWithIdsCategoriesAndAnotherField) {
  folder.write("c.jsonl", text_line(kDocumentA, ", \"category\": \"top\", \"note\": 1") +
                              text_line(kDocumentB, ", \"id\": \"b\", \"note\": 2"));
  folder.write("d.jsonl", "{\"body\": \"▀message\\nx▄\\n\", \"id\": 17}");  // no newline at the end
  DataEntry other = entry("d.jsonl", "blockml_jsonl");
  other.field = "body";
  other.category = "low";
  const Dataset dataset = load_good({entry("c.jsonl"), other});
  EXPECT_EQ(ids_of(dataset), (Texts{"c.jsonl:1", "b", "17"}));
  EXPECT_EQ(dataset.conversations[0].category, "top");
  EXPECT_EQ(dataset.conversations[1].category, "");
  EXPECT_EQ(dataset.conversations[2].category, "low");
  EXPECT_EQ(dataset.train[1].ids.size(), 148u);
  EXPECT_EQ(dataset.unknown_keys, (Texts{"c.jsonl: `note` in 2 lines"}));
  EXPECT_EQ(dataset.location_of(dataset.train[1]), "c.jsonl:2");
  EXPECT_EQ(dataset.files[0].sha256, sha256_hex(folder.read("c.jsonl")));
}

TEST_F(DatasetTest, CompletionIsTakenAsItIs) {
  folder.write("plain.txt", "no blocks, ▀ alone \r\n");
  folder.write("plain.jsonl", "{\"text\": \"hello world hello\"}\n");
  options.train_on_inputs = false;  // has no roles to go by: all is trained
  const Dataset dataset = load_good({entry("plain.txt", "completion"), entry("plain.jsonl", "completion")});
  EXPECT_EQ(dataset.train[1].ids, (Ints{1, 6312, 28709, 1526, 6312, 28709, 2}));
  EXPECT_EQ(dataset.train[1].trained, std::vector<std::uint8_t>(7, 1));
  EXPECT_EQ(dataset.conversations[0].text_sha256, sha256_hex("no blocks, ▀ alone \r\n"));
}

TEST_F(DatasetTest, TokenizedIdsAreTakenAsTheyAreAndNeedNoTokenizer) {
  folder.write("ids.jsonl",
               "{\"input_ids\": [5, 6, 7]}\n{\"input_ids\": [1, 8, 9], \"labels\": [-100, -100, 9], "
               "\"attention_mask\": [1, 1, 1]}\n");
  const Dataset dataset = load_datasets({entry("ids.jsonl", "tokenized")}, {}, options, nullptr, diagnostics);
  EXPECT_TRUE(problems().empty());
  ASSERT_EQ(dataset.train.size(), 2u);
  EXPECT_EQ(dataset.train[0].ids, (Ints{5, 6, 7}));
  EXPECT_EQ(dataset.train[0].trained, (std::vector<std::uint8_t>{1, 1, 1}));
  EXPECT_EQ(dataset.train[1].trained, (std::vector<std::uint8_t>{0, 0, 1}));
  EXPECT_EQ(dataset.unknown_keys, (Texts{"ids.jsonl: `attention_mask` in 1 line"}));
  EXPECT_EQ(dataset.tokenizer_sha256, "");
}

TEST_F(DatasetTest, TextWithoutATokenizerIsRefused) {
  folder.write("a.blockml", kDocumentA);
  try {
    load_datasets({entry("a.blockml")}, {}, options, nullptr, diagnostics);
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0203");
  }
}

TEST_F(DatasetTest, BosAndEosPolicies) {
  folder.write("a.blockml", kDocumentA);
  options.bos = false;
  EXPECT_EQ(load_good({entry("a.blockml")}).train[0].ids.size(), 83u);
  options.eos = EosRule::kNever;
  EXPECT_EQ(load_good({entry("a.blockml")}).train[0].ids.size(), 82u);
  options.bos = true;
  EXPECT_EQ(load_good({entry("a.blockml")}).train[0].ids.back(), 13);
  options.compat = true;  // forces EOS at the end
  EXPECT_EQ(load_good({entry("a.blockml")}).train[0].ids.back(), 2);
}

TEST_F(DatasetTest, TheLastConversationsAreHeldOut) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += text_line("▀message\nline " + std::to_string(i) + "▄\n");
  folder.write("c.jsonl", lines);
  options.val_set_size = 3;
  Dataset dataset = load_good({entry("c.jsonl")});
  EXPECT_EQ(dataset.train.size(), 7u);
  ASSERT_EQ(dataset.held_out.size(), 1u);
  EXPECT_EQ(dataset.held_out[0].name, "val");
  ASSERT_EQ(dataset.held_out[0].samples.size(), 3u);
  EXPECT_EQ(dataset.held_out[0].samples[0].conversation, 7u);
  options.val_set_size = 0.11;  // rounded up, as Axolotl does
  EXPECT_EQ(load_good({entry("c.jsonl")}).train.size(), 8u);
}

TEST_F(DatasetTest, PartsOfAHeldOutConversationStayTogether) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB));
  options.val_set_size = 1;
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kSplit;
  const Dataset dataset = load_good({entry("c.jsonl")});
  EXPECT_EQ(dataset.train.size(), 1u);
  EXPECT_EQ(dataset.held_out[0].samples.size(), 2u);
}

TEST_F(DatasetTest, EachTestEntryIsAHeldOutSet) {
  folder.write("a.blockml", kDocumentA);
  folder.write("b.blockml", kDocumentB);
  folder.write("t.jsonl", text_line("▀message\nx▄\n") + text_line("▀message\ny▄\n"));
  const Dataset dataset = load_good({entry("a.blockml")}, {entry("b.blockml"), entry("t.jsonl")});
  ASSERT_EQ(dataset.held_out.size(), 2u);
  EXPECT_EQ(dataset.held_out[0].name, "b.blockml");
  EXPECT_EQ(dataset.held_out[1].samples.size(), 2u);
  EXPECT_EQ(dataset.conversations[0].held_out, -1);
  EXPECT_EQ(dataset.conversations[3].held_out, 1);
}

TEST_F(DatasetTest, SkippedConversations) {
  folder.write("a.blockml", kDocumentA);
  folder.write("c.jsonl",
               text_line(kDocumentA) + text_line(kDocumentB, ", \"id\": \"b\"") + text_line("▀message\nx▄\n"));
  options.skip_samples = {"c.jsonl:1", "c.jsonl:2"};
  EXPECT_EQ(load_good({entry("a.blockml"), entry("c.jsonl")}).train.size(), 2u);
  options.skip_samples = {"a.blockml", "b"};
  const Dataset dataset = load_good({entry("a.blockml"), entry("c.jsonl")});
  EXPECT_EQ(dataset.train.size(), 2u);
  EXPECT_EQ(dataset.file_ledgers[0].counts.tokens_dropped(), 84);
  options.skip_samples = {"c.jsonl:4"};
  load({entry("a.blockml"), entry("c.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0117 "}));
}

TEST_F(DatasetTest, SamplesWithoutALabelAreDroppedAndCounted) {
  folder.write("ids.jsonl", "{\"input_ids\": [5, 6, 7], \"labels\": [5, -100, -100]}\n{\"input_ids\": [8, 9]}\n");
  const Dataset dataset = load_good({entry("ids.jsonl", "tokenized")});
  ASSERT_EQ(dataset.train.size(), 1u);
  EXPECT_EQ(dataset.train[0].ids, (Ints{8, 9}));
  EXPECT_EQ(dataset.file_ledgers[0].counts.dropped[static_cast<std::size_t>(DropRule::kUntrained)], 3);
  EXPECT_EQ(dataset.file_ledgers[0].dropped[static_cast<std::size_t>(DropRule::kUntrained)][0].location, "ids.jsonl:1");
}

TEST_F(DatasetTest, TheResultDoesNotDependOnThreads) {
  std::mt19937 generator(3);
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    std::string text = "▀title\nScene " + std::to_string(i) + "▄\n";
    for (std::uint32_t k = 0; k < 1 + generator() % 20; ++k) {
      text += "▀message\nReimu: \"line " + std::to_string(generator()) + "\"▄\n";
    }
    lines += text_line(text);
  }
  folder.write("c.jsonl", lines);
  options.sequence_len = 300;
  options.overlong = OverlongPolicy::kSplit;
  const Dataset one = load_good({entry("c.jsonl")});
  options.threads = 4;
  std::uint64_t last = 0;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
  };
  const Dataset four = load_good({entry("c.jsonl")});
  EXPECT_GT(last, 0u);
  EXPECT_EQ(one.fingerprint, four.fingerprint);
  ASSERT_EQ(one.train.size(), four.train.size());
  for (std::size_t i = 0; i < one.train.size(); ++i) {
    EXPECT_EQ(one.train[i].ids, four.train[i].ids);
    EXPECT_EQ(one.train[i].conversation, four.train[i].conversation);
  }
}

TEST_F(DatasetTest, FingerprintFollowsItsDefinition) {
  folder.write("ids.jsonl", "{\"input_ids\": [5, 6]}\n");
  options.roles_to_train = {"message", "ooc"};
  const Dataset dataset = load_datasets({entry("ids.jsonl", "tokenized")}, {}, options, nullptr, diagnostics);
  const std::int32_t ids_and_labels[] = {5, 6, 5, 6};
  std::string text = "shori-data 1\n";
  for (const std::string& field : {std::string("0"), std::string("ids.jsonl:1"),
                                   to_hex(sha256(ids_and_labels, sizeof ids_and_labels)), std::string()}) {
    text.append(field.c_str(), field.size() + 1);
  }
  text +=
      "tokenizer none\nsequence_len 1000\nbos true\neos end\ntrain_on_inputs true\nroles message,ooc\ntrain_on_eos "
      "true\n"
      "train_on_speaker true\nexcess_length raise\nrepeat_scenario false\ncompat false\n";
  EXPECT_EQ(dataset.fingerprint, sha256_hex(text));
}

TEST_F(DatasetTest, FingerprintChangesWithTextAndSettingsButNotWithSpellingOrTime) {
  folder.write("a.blockml", kDocumentA);
  const std::string first = load_good({entry("a.blockml")}).fingerprint;
  folder.write("a.blockml", kDocumentA + "\n");
  EXPECT_EQ(load_good({entry("a.blockml")}).fingerprint, first);
  options.sequence_len = 999;
  EXPECT_NE(load_good({entry("a.blockml")}).fingerprint, first);
  options.sequence_len = 1000;
  std::string changed = kDocumentA;
  changed.replace(changed.find("strange"), 7, "strangE");
  folder.write("a.blockml", changed);
  EXPECT_NE(load_good({entry("a.blockml")}).fingerprint, first);
}

}  // namespace
}  // namespace shori
