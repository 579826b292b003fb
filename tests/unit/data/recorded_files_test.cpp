// Data that was moved or renamed is the data of the run that recorded it.
#include <filesystem>
#include <vector>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class RecordedFiles : public DatasetTest {
 protected:
  RecordedFiles() {
    folder.write("d/a.blockml", "▀message\none▄\n");
    folder.write("d/b.blockml", "▀message\ntwo▄\n");
    folder.write("d/c.jsonl", text_line("▀message\nthree▄\n") + text_line("▀message\nfour▄\n"));
    folder.write("e/test.blockml", "▀message\nheld out▄\n");
  }

  static std::vector<RecordedFile> record_of(const Dataset& dataset) {
    std::vector<RecordedFile> record;
    for (const DataFile& file : dataset.files) record.push_back({file.recorded_path, file.sha256});
    return record;
  }

  static std::vector<std::vector<std::int32_t>> train_ids(const Dataset& dataset) {
    std::vector<std::vector<std::int32_t>> ids;
    for (const Sample& sample : dataset.train) ids.push_back(sample.ids);
    return ids;
  }

  void move(const std::string& from, const std::string& to) const {
    std::filesystem::create_directories(std::filesystem::path(folder.file(to)).parent_path());
    std::filesystem::rename(folder.file(from), folder.file(to));
  }

  void expect_same(const Dataset& now, const Dataset& before) const {
    EXPECT_EQ(now.fingerprint, before.fingerprint);
    EXPECT_EQ(train_ids(now), train_ids(before)) << "samples are numbered as before";
  }
};

TEST_F(RecordedFiles, AnotherSpellingOfThePath) {
  const Dataset before = load_good({entry("d")}, {entry("e")});
  options.recorded_files = record_of(before);
  for (const char* path : {"./d", "d/", "../d", "/elsewhere/d"}) {
    DataEntry spelled = entry("d");
    spelled.path = path;
    expect_same(load_good({spelled}, {entry("e/test.blockml")}), before);
  }
  DataEntry glob = entry("d/*");
  expect_same(load_good({glob}, {entry("e")}), before);
}

TEST_F(RecordedFiles, RenamedFilesKeepTheirOrder) {
  const Dataset before = load_good({entry("d")}, {entry("e")});
  options.recorded_files = record_of(before);
  move("d/a.blockml", "d/z.blockml");
  move("d/c.jsonl", "d/0.jsonl");
  const Dataset now = load_good({entry("d")}, {entry("e")});
  expect_same(now, before);
  EXPECT_EQ(now.files[0].path, "d/z.blockml");
  EXPECT_EQ(now.files[0].recorded_path, "d/a.blockml");
  EXPECT_EQ(now.conversations[2].id, "d/0.jsonl:1");
  options.recorded_files.clear();
  EXPECT_NE(load_good({entry("d")}, {entry("e")}).fingerprint, before.fingerprint) << "the record decides";
}

TEST_F(RecordedFiles, FilesInOtherFoldersAndEntries) {
  const Dataset before = load_good({entry("d")}, {entry("e")});
  options.recorded_files = record_of(before);
  move("d/b.blockml", "other/place/x.blockml");
  move("e/test.blockml", "t.blockml");
  expect_same(load_good({entry("other"), entry("d")}, {entry("t.blockml")}), before);
}

TEST_F(RecordedFiles, CopiesWithOneContent) {
  folder.write("d/b2.blockml", "▀message\ntwo▄\n");
  const Dataset before = load_good({entry("d")});
  options.recorded_files = record_of(before);
  move("d", "moved");
  expect_same(load_good({entry("moved")}), before);
}

TEST_F(RecordedFiles, OtherContentIsOtherData) {
  const Dataset before = load_good({entry("d")}, {entry("e")});
  options.recorded_files = record_of(before);
  folder.write("d/b.blockml", "▀message\nTWO▄\n");
  EXPECT_NE(load_good({entry("d")}, {entry("e")}).fingerprint, before.fingerprint);
  folder.write("d/b.blockml", "▀message\ntwo▄\n");
  expect_same(load_good({entry("d")}, {entry("e")}), before);
  folder.write("d/n.blockml", "▀message\nnew▄\n");
  EXPECT_NE(load_good({entry("d")}, {entry("e")}).fingerprint, before.fingerprint);
  std::filesystem::remove(folder.file("d/n.blockml"));
  std::filesystem::remove(folder.file("d/a.blockml"));
  EXPECT_NE(load_good({entry("d")}, {entry("e")}).fingerprint, before.fingerprint);
}

TEST_F(RecordedFiles, PreparedDataGoesOn) {
  int encoded = 0;
  options.progress = [&](std::uint64_t, std::uint64_t) { ++encoded; };
  options.prepared_path = folder.file("kept/first.bin");
  Dataset before = load_good({entry("d")}, {entry("e")});
  (void)keep_prepared(before);
  EXPECT_GT(encoded, 0);
  options.recorded_files = record_of(before);
  options.prepared_path = folder.file("kept/renamed run.bin");
  move("d", "moved");
  move("moved/a.blockml", "moved/z.blockml");
  encoded = 0;
  const Dataset now = load_good({entry("moved")}, {entry("e")});
  EXPECT_EQ(encoded, 0) << now.prepared;
  expect_same(now, before);
  options.prepared_path.clear();
  const Dataset fresh = load_good({entry("moved")}, {entry("e")});
  EXPECT_EQ(fresh.fingerprint, now.fingerprint);
  for (std::size_t i = 0; i < fresh.conversations.size(); ++i)
    EXPECT_EQ(now.conversations[i].id, fresh.conversations[i].id);
  for (std::size_t i = 0; i < fresh.files.size(); ++i) EXPECT_EQ(now.files[i].path, fresh.files[i].path);
  EXPECT_EQ(now.location_of(now.train.at(0)), fresh.location_of(fresh.train.at(0)));
}

TEST_F(RecordedFiles, SkippedSamplesMayBeSpelledOtherwise) {
  options.skip_samples = {"d/a.blockml"};
  const Dataset before = load_good({entry("d")}, {entry("e")});
  for (const char* name : {"./d/a.blockml", "d/../d/a.blockml"}) {
    options.skip_samples = {name};
    expect_same(load_good({entry("d")}, {entry("e")}), before);
  }
  options.skip_samples = {"d/b.blockml"};
  EXPECT_NE(load_good({entry("d")}, {entry("e")}).fingerprint, before.fingerprint);
}

}  // namespace
}  // namespace shori
