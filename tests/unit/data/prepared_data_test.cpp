// Tokenized data that is kept for the next start.
#include <fcntl.h>
#include <sys/stat.h>

#include "shori/data/lint.h"
#include "shori/util/file.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class PreparedDataTest : public DatasetTest {
 protected:
  PreparedDataTest() {
    options.prepared_path = folder.file("kept/run.bin");
    options.compare = true;
    options.overlong = OverlongPolicy::kSplit;
    options.sequence_len = 100;
    options.progress = [this](std::uint64_t, std::uint64_t) { ++encoded_; };
    folder.write("a.blockml", kDocumentA);
    folder.write("b.jsonl", text_line(kDocumentB, ", \"id\": \"b\", \"extra\": 1") + text_line(kDocumentA));
    folder.write("e.blockml", "▀message\nheld out▄\n");
  }

  Dataset load_all() {
    encoded_ = 0;
    Dataset dataset = load({entry("a.blockml"), entry("b.jsonl")}, {entry("e.blockml")});
    EXPECT_FALSE(diagnostics.has_errors());
    kept_ = keep_prepared(dataset);
    return dataset;
  }

  bool was_encoded() const { return encoded_ > 0; }
  int encoded_ = 0;
  std::string kept_;  // what became of the cache
};

// Everything a run takes from the data, as text.
std::string text_of(const Dataset& dataset) {
  std::string text = dataset.fingerprint + " " + dataset.tokenizer_sha256 + "\n";
  const auto add_samples = [&](const std::vector<Sample>& samples) {
    for (const Sample& sample : samples) {
      text += dataset.location_of(sample) + ":";
      for (std::size_t i = 0; i < sample.ids.size(); ++i) {
        text += " " + std::to_string(sample.ids[i]) + "/" + std::to_string(sample.trained[i]);
        if (!sample.roles.empty()) text += "/" + std::to_string(sample.roles[i]);
      }
      text += "\n";
    }
  };
  add_samples(dataset.train);
  for (const HeldOutSet& set : dataset.held_out) {
    text += "set " + set.name + "\n";
    add_samples(set.samples);
  }
  for (const Conversation& source : dataset.conversations) {
    text += source.id + " " + std::to_string(source.file) + " " + std::to_string(source.line) + " " + source.category +
            " " + source.text_sha256 + " " + std::to_string(source.held_out) + " " + std::to_string(source.is_line) +
            "\n";
  }
  for (const DataFile& file : dataset.files)
    text += file.path + " " + std::to_string(file.size) + " " + file.sha256 + "\n";
  for (const FileLedger& ledger : dataset.file_ledgers) {
    const LedgerCounts& counts = ledger.counts;
    text += std::to_string(counts.bytes_in) + " " + std::to_string(counts.tokens_in) + " " +
            std::to_string(counts.tokens_repeated) + " " + std::to_string(counts.tokens_packed) + " " +
            std::to_string(counts.tokens_held_out) + " " + std::to_string(counts.samples) + "\n";
    for (const LedgerItem& item : ledger.split)
      text += "split " + item.location + " " + std::to_string(item.tokens) + "\n";
    for (const LedgerItem& item : ledger.held_out)
      text += "held out " + item.location + " " + std::to_string(item.tokens) + "\n";
  }
  for (const std::string& key : dataset.unknown_keys) text += key + "\n";
  for (const std::string& file : dataset.ignored_files) text += file + "\n";
  return text;
}

TEST_F(PreparedDataTest, TheSecondStartEncodesNothingAndGetsTheSame) {
  const Dataset first = load_all();
  const std::vector<std::string> reported = problems();
  EXPECT_EQ(reported, (Texts{"W0301 b.jsonl:2", "W0302 a.blockml:1"}));
  EXPECT_TRUE(was_encoded());
  EXPECT_EQ(first.prepared, "data tokenized (no cache yet)");
  EXPECT_EQ(kept_, "tokenized data kept in " + options.prepared_path);
  const Dataset second = load_all();
  EXPECT_FALSE(was_encoded());
  EXPECT_EQ(second.prepared, "prepared data taken from " + options.prepared_path);
  EXPECT_EQ(kept_, "") << "it is there";
  EXPECT_EQ(text_of(second), text_of(first));
  EXPECT_EQ(problems(), reported);  // warnings are repeated
  EXPECT_GT(first.train.size(), 3u);
  options.prepared_path.clear();
  EXPECT_EQ(text_of(load_all()), text_of(first));
  EXPECT_TRUE(was_encoded());
}

TEST_F(PreparedDataTest, ContentsDecideNotTimes) {
  load_all();
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, folder.file("a.blockml").c_str(), old, 0), 0);
  load_all();
  EXPECT_FALSE(was_encoded());
  std::string changed = kDocumentA;
  changed.replace(changed.find("Hmm"), 3, "Hum");  // the same size, and the same time
  folder.write("a.blockml", changed);
  ASSERT_EQ(utimensat(AT_FDCWD, folder.file("a.blockml").c_str(), old, 0), 0);
  const Dataset dataset = load_all();
  EXPECT_TRUE(was_encoded());
  EXPECT_TRUE(dataset.prepared.starts_with("data tokenized (\"a.blockml\" changed)")) << dataset.prepared;
  options.prepared_path.clear();
  EXPECT_EQ(text_of(load_all()), text_of(dataset));
}

TEST_F(PreparedDataTest, EveryOptionDecides) {
  struct Change {
    std::string name;  // as the reason has it
    void (*change)(DataOptions&);
  };
  const Change changes[] = {
      {.name = "sequence_len", .change = [](DataOptions& o) { o.sequence_len = 110; }},
      {.name = "excess_length_strategy", .change = [](DataOptions& o) { o.overlong = OverlongPolicy::kTruncate; }},
      {.name = "train_on_inputs", .change = [](DataOptions& o) { o.train_on_inputs = false; }},
      {.name = "roles_to_train", .change = [](DataOptions& o) { o.roles_to_train = {"message", "ooc"}; }},
      {.name = "train_on_eos", .change = [](DataOptions& o) { o.train_on_eos = false; }},
      {.name = "blockml.train_on_speaker", .change = [](DataOptions& o) { o.train_on_speaker = false; }},
      {.name = "blockml.bos", .change = [](DataOptions& o) { o.bos = false; }},
      {.name = "blockml.eos", .change = [](DataOptions& o) { o.eos = EosRule::kNever; }},
      {.name = "blockml.repeat_scenario", .change = [](DataOptions& o) { o.repeat_scenario = true; }},
      {.name = "compat", .change = [](DataOptions& o) { o.compat = true; }},
      {.name = "val_set_size", .change = [](DataOptions& o) { o.val_set_size = 1, o.allow_overlap = true; }},
      {.name = "skip_samples", .change = [](DataOptions& o) { o.skip_samples = {"a.blockml"}; }},
      {.name = "overlap checks", .change = [](DataOptions& o) { o.compare = false; }},
      {.name = "allow_overlap", .change = [](DataOptions& o) { o.allow_overlap = true; }},
      {.name = "dedupe", .change = [](DataOptions& o) { o.dedupe = true; }},
      {.name = "vocabulary", .change = [](DataOptions& o) { o.vocab_size = 32064; }},
      {.name = "blockml.default_length", .change = [](DataOptions& o) { o.default_length = LengthHint::kAuto; }},
      {.name = "blockml.length_unit", .change = [](DataOptions& o) { o.length_buckets.unit = LengthUnit::kWords; }},
      {.name = "blockml.length_buckets", .change = [](DataOptions& o) { o.length_buckets.bounds[0] = 11; }},
  };
  const DataOptions before = options;
  for (const auto& [name, change] : changes) {
    options = before;
    load_all();
    change(options);
    const Dataset dataset = load_all();
    EXPECT_TRUE(was_encoded()) << name;
    EXPECT_TRUE(dataset.prepared.starts_with("data tokenized (" + name + " changed)")) << dataset.prepared;
  }
  options = before;
  load_all();
  auto lint = std::make_shared<LintOptions>();
  options.lint = lint;
  load_all();
  EXPECT_TRUE(was_encoded());
  auto named = std::make_shared<LintOptions>(*lint);
  named->usernames = {"someone"};
  options.lint = named;
  load_all();
  EXPECT_TRUE(was_encoded());
  options.threads = 2;  // changes nothing but time
  load_all();
  EXPECT_FALSE(was_encoded());
}

TEST_F(PreparedDataTest, FilesThatComeAndGo) {
  const auto load_folder = [this] {
    encoded_ = 0;
    Dataset dataset = load({entry("d")});
    (void)keep_prepared(dataset);
    return dataset;
  };
  folder.write("d/a.blockml", "▀message\none▄\n");
  load_folder();
  folder.write("d/b.blockml", "▀message\ntwo▄\n");
  EXPECT_TRUE(load_folder().prepared.starts_with("data tokenized (files were added)"));
  folder.write("d/notes.md", "x");  // skipped, and listed each time
  const Dataset with_notes = load_folder();
  EXPECT_FALSE(was_encoded());
  EXPECT_EQ(with_notes.ignored_files, (Texts{"d/notes.md"}));
  std::filesystem::remove(folder.file("d/b.blockml"));
  EXPECT_TRUE(load_folder().prepared.starts_with("data tokenized (files are no longer there)"));
  encoded_ = 0;
  load({entry("d/a.blockml")});
  EXPECT_FALSE(was_encoded()) << "the same file by another path";
}

TEST_F(PreparedDataTest, DamageIsSeenWhereverItIs) {
  const std::string expected = text_of(load_all());
  const std::string whole = folder.read("kept/run.bin");
  for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 60) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    folder.write("kept/run.bin", damaged);
    const Dataset dataset = load_all();
    ASSERT_TRUE(was_encoded()) << at;
    ASSERT_TRUE(dataset.prepared.starts_with("data tokenized (the cache is damaged)")) << dataset.prepared;
    ASSERT_EQ(text_of(dataset), expected) << at;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{40}, whole.size() - 1}) {
    folder.write("kept/run.bin", whole.substr(0, size));
    ASSERT_EQ(text_of(load_all()), expected);
    ASSERT_TRUE(was_encoded()) << size;
  }
  EXPECT_EQ(folder.read("kept/run.bin"), whole);  // written again with the same bytes
}

TEST_F(PreparedDataTest, OnlyWhatCanBeTrainedIsKeptAndOnlyIfWanted) {
  EXPECT_TRUE(load({entry("a.blockml")}).cache);
  EXPECT_FALSE(path_exists(options.prepared_path)) << "loading alone writes nothing";
  folder.write("a.blockml", "▀message\nnot closed");
  Dataset dataset = load({entry("a.blockml")});
  EXPECT_TRUE(diagnostics.has_errors());
  EXPECT_EQ(keep_prepared(dataset), "");
  EXPECT_FALSE(path_exists(options.prepared_path));
}

TEST_F(PreparedDataTest, AFolderThatCannotBeIsNoError) {
  folder.write("kept", "a file is in the way");
  const Dataset dataset = load_all();
  EXPECT_TRUE(kept_.starts_with("tokenized data not kept: ")) << kept_;
  EXPECT_FALSE(dataset.train.empty());
}

}  // namespace
}  // namespace shori
