// Which documents are held out or left out, what is reported of the whole, and the data set that is built of the rest.
#include "src/data/dataset/select_documents.h"

#include "src/data/dataset/build_dataset.h"
#include "src/data/dataset/fingerprint.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

// A list as the reader and the encoder leave it: no file is read here.
class SelectDocuments : public DatasetTest {
 protected:
  SelectDocuments() {
    sources.entries = {entry("train"), entry("more"), entry("test")};
    sources.train_entries = 2;
    for (std::uint32_t i = 0; i < 3; ++i) {
      SourceFile& file = sources.files.emplace_back();
      file.path = file.shown = sources.entries[i].path + "/f.jsonl";
      file.entry = i;
    }
    list.files.resize(3);
  }

  // A document of `file` with a sample of `length` ids; none: 0.
  Document& add(std::uint32_t file, std::size_t length = 5) {
    Document& document = list.documents.emplace_back();
    document.source.file = file;
    document.source.line = list.documents.size();
    document.source.is_line = true;
    document.source.id = "id " + std::to_string(list.documents.size());
    document.sketch = sketch_text(document.source.id);
    document.counts.conversations = 1;
    document.counts.tokens_in = static_cast<std::int64_t>(length);
    if (length == 0) return document;
    Sample& sample = document.samples.emplace_back();
    sample.ids.assign(length, static_cast<std::int32_t>(list.documents.size()));
    sample.trained.assign(length, 1);
    return document;
  }

  std::vector<std::int32_t> held_out() const {
    std::vector<std::int32_t> sets;
    for (const Document& document : list.documents) sets.push_back(document.source.held_out);
    return sets;
  }

  std::vector<std::string> select() {
    diagnostics = Diagnostics();
    return select_documents(list, sources, options, diagnostics);
  }

  DataSources sources;
  DocumentList list;
};

using Sets = std::vector<std::int32_t>;

TEST_F(SelectDocuments, TheLastOfTheTrainEntriesAreHeldOut) {
  for (const std::uint32_t file : {0u, 0u, 1u, 1u, 2u}) add(file);
  EXPECT_EQ(hold_out(list.documents, sources, 1), (Texts{"val", "test"}));
  EXPECT_EQ(held_out(), (Sets{-1, -1, -1, 0, 1}));
}

TEST_F(SelectDocuments, AShareIsRoundedUpAndFilteredDocumentsDoNotCount) {
  for (int i = 0; i < 5; ++i) add(0);
  list.documents[4].filtered = true;
  EXPECT_EQ(hold_out(list.documents, sources, 0.3), (Texts{"val", "test"}));  // 0.3 of 4 is 2
  EXPECT_EQ(held_out(), (Sets{-1, -1, 0, 0, -1}));
}

TEST_F(SelectDocuments, WithoutAValSetTheTestEntriesAreNumberedFromZero) {
  add(0);
  add(2);
  EXPECT_EQ(hold_out(list.documents, sources, 0), Texts{"test"});
  EXPECT_EQ(held_out(), (Sets{-1, 0}));
}

TEST_F(SelectDocuments, ExactCopiesInTrainAreDroppedWithDedupe) {
  add(0);
  add(1, 7).sketch = list.documents[0].sketch;
  add(2).sketch = sketch_text("another");
  options.dedupe = true;
  select();
  EXPECT_EQ(problems(), Texts{});
  EXPECT_FALSE(list.documents[0].duplicate);
  EXPECT_TRUE(list.documents[1].duplicate);
  EXPECT_TRUE(list.documents[1].samples.empty());
  EXPECT_EQ(list.documents[1].counts.dropped[static_cast<std::size_t>(DropRule::kDuplicate)], 7);
}

TEST_F(SelectDocuments, ACopyOfTrainInATestEntryIsAnError) {
  add(0);
  add(1);
  add(2).sketch = list.documents[0].sketch;
  select();
  EXPECT_EQ(problems(), Texts{}) << "nothing is compared";
  options.compare = true;
  list.documents.clear();
  add(0);
  add(1);
  add(2).sketch = list.documents[0].sketch;
  select();
  EXPECT_EQ(problems(), Texts{"E0307 test/f.jsonl:3"});
}

TEST_F(SelectDocuments, WhatIsWrongWithTheWholeIsReportedInOrder) {
  add(0).overlong = {1200, false};
  add(1, 0);
  add(2);
  options.skip_samples = {"nobody"};
  select();
  EXPECT_EQ(problems(), (Texts{"E0305 train/f.jsonl:1", "E0306 config.yaml:7", "E0117 "}));
  EXPECT_EQ(diagnostics.all()[0].notes, Texts{"train/f.jsonl:1: 1200 ids (+200)"});
}

TEST_F(SelectDocuments, AnEntryWhoseFileWasRefusedIsNotAlsoUntrained) {
  add(0);
  add(2);
  list.files[1].refused = true;
  select();
  EXPECT_EQ(problems(), Texts{});
  list.files[1].refused = false;
  select();
  EXPECT_EQ(problems(), Texts{"E0306 config.yaml:7"});
}

TEST_F(SelectDocuments, NothingLeftToTrainIsAnError) {
  add(0);
  add(1);
  add(2);
  options.val_set_size = 2;
  select();
  EXPECT_EQ(problems(), Texts{"E0306 config.yaml:7"});
}

TEST_F(SelectDocuments, SamplesCloseToTheLimitAreNamed) {
  add(0, 1000);
  add(0, 984);
  add(0, 983);
  add(1);
  add(2);
  options.compare = true;
  select();
  ASSERT_EQ(problems(), Texts{"W0302 train/f.jsonl:1"});
  EXPECT_EQ(diagnostics.all()[0].notes.size(), 2u);
}

TEST_F(SelectDocuments, TheDataSetIsDealtFromTheList) {
  add(0, 3);
  add(1, 4);
  Document& split = add(1, 5);
  split.samples.push_back(split.samples.front());
  split.counts.tokens_repeated = 6;
  add(2, 6);
  Document& dropped = add(0, 0);
  dropped.counts.dropped[static_cast<std::size_t>(DropRule::kOverlong)] = 9;
  list.files[0] = {12, "hash", 10, 2, false};
  list.unknown_keys[{1, "note"}] = 2;
  const std::vector<std::string> names = hold_out(list.documents, sources, 0);
  const Dataset dataset = build_dataset(std::move(list), sources, names);
  ASSERT_EQ(dataset.train.size(), 4u);
  ASSERT_EQ(dataset.held_out.size(), 1u);
  EXPECT_EQ(dataset.held_out[0].name, "test");
  ASSERT_EQ(dataset.held_out[0].samples.size(), 1u);
  EXPECT_EQ(dataset.held_out[0].samples[0].conversation, 3u);
  EXPECT_EQ(dataset.train[3].conversation, 2u);
  EXPECT_EQ(dataset.conversations.size(), 5u);
  EXPECT_EQ(dataset.conversations[4].id, "id 5");
  EXPECT_EQ(dataset.files[0].path, "train/f.jsonl");
  EXPECT_EQ(dataset.files[0].sha256, "hash");
  const LedgerCounts& counts = dataset.file_ledgers[0].counts;
  EXPECT_EQ(counts.bytes_in, 12);
  EXPECT_EQ(counts.bytes_between, 2);
  EXPECT_EQ(counts.tokens_packed, 3);
  EXPECT_EQ(counts.samples, 1);
  const auto& overlong = dataset.file_ledgers[0].dropped[static_cast<std::size_t>(DropRule::kOverlong)];
  ASSERT_EQ(overlong.size(), 1u);
  EXPECT_EQ(overlong[0].tokens, 9);
  EXPECT_EQ(dataset.file_ledgers[1].counts.tokens_packed, 14);
  EXPECT_EQ(dataset.file_ledgers[1].split.at(0).tokens, 6);
  EXPECT_EQ(dataset.file_ledgers[2].counts.tokens_held_out, 6);
  EXPECT_EQ(dataset.file_ledgers[2].held_out.at(0).tokens, 6);
  EXPECT_EQ(dataset.unknown_keys, Texts{"more/f.jsonl: `note` in 2 lines"});
}

// The text of fingerprint.h, written out.
TEST_F(SelectDocuments, TheFingerprintIsTheHashOfItsText) {
  add(0).source.text_sha256 = "aa";
  Document& skipped = add(1);
  skipped.skipped = true;
  skipped.source.category = "low";
  Document& held_out = add(2);
  held_out.source.held_out = 1;
  held_out.duplicate = true;
  held_out.filtered = true;
  const auto field = [](const std::string& text) { return text + '\0'; };
  const std::string text = "shori-data 1\n" +                                       //
                           field("0") + field("id 1") + field("aa") + field("") +   //
                           field("0") + field("id 2") + field("") + field("low") +  //
                           field("2") + field("id 3") + field("") + field("") +     //
                           "tokenizer none\nsequence_len 1000\nbos true\neos conversation\n"
                           "train_on_inputs true\nroles message,ooc\ntrain_on_eos true\ntrain_on_speaker true\n"
                           "excess_length truncate\nrepeat_scenario false\ncompat false\n"
                           "skip id 2\nduplicate id 3\nrating id 3\n";
  options.eos = EosRule::kConversation;
  options.overlong = OverlongPolicy::kTruncate;
  options.roles_to_train = {"message", "ooc"};
  EXPECT_EQ(data_fingerprint(build_dataset(std::move(list), sources, {"val", "more"}), options), sha256_hex(text));
}

}  // namespace
}  // namespace shori
