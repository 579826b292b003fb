// The documents of files: where each is from, how batches end, and what is noted of each file.
#include "src/data/documents/read_documents.h"

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class ReadDocuments : public DatasetTest {
 protected:
  DataSources find(const std::vector<DataEntry>& entries) {
    DataSources sources = find_sources(entries, {}, true, diagnostics);
    EXPECT_EQ(problems(), Texts{});
    return sources;
  }

  static std::string shown(const Document& document) {
    const Conversation& source = document.source;
    return std::to_string(source.file) + (source.is_line ? " line " : " whole ") + std::to_string(source.line) + " " +
           document.content;
  }

  // "FILE line|whole LINE CONTENT" of each document, batch by batch; a problem as its code.
  static std::vector<Texts> read(DocumentReader& reader) {
    std::vector<Texts> batches;
    while (const auto batch = reader.next_batch()) {
      Texts& texts = batches.emplace_back();
      std::size_t bytes = 0;
      for (const Document& document : batch->documents) {
        texts.push_back(shown(document));
        bytes += document.content.size();
      }
      EXPECT_EQ(batch->bytes, bytes);
      if (batch->problem) texts.push_back(batch->problem->code);
    }
    return batches;
  }
};

TEST_F(ReadDocuments, OnePerLineYamlDocumentOrFile) {
  folder.write("a.blockml", "one\ntwo\n");
  folder.write("b.jsonl", "{1}\n\n{3}");
  folder.write("c.yaml", "a: 1\n");
  folder.write("d.yaml", "# two\n---\na: 1\n---\nb: 2\n");
  const DataSources sources = find({entry("a.blockml"), entry("b.jsonl"), entry("c.yaml"), entry("d.yaml")});
  DocumentReader reader(sources);
  EXPECT_EQ(read(reader), (std::vector<Texts>{{"0 whole 1 one\ntwo\n", "1 line 1 {1}", "1 line 3 {3}",
                                               "2 whole 1 a: 1\n", "3 line 2 ---\na: 1\n", "3 line 4 ---\nb: 2\n"}}));
}

TEST_F(ReadDocuments, FilesAreHashedAndTheirBytesCounted) {
  folder.write("a.blockml", "text");
  folder.write("b.jsonl", "{1}\n{2}\n");
  folder.write("c.yaml", "# note\n---\na: 1\n");
  const DataSources sources = find({entry("a.blockml"), entry("b.jsonl"), entry("c.yaml")});
  DocumentReader reader(sources);
  read(reader);
  const std::vector<ReadFile> files = reader.take_files();
  ASSERT_EQ(files.size(), 3u);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string content = folder.read(sources.files[i].path);
    EXPECT_EQ(files[i].sha256, sha256_hex(content));
    EXPECT_EQ(files[i].size, content.size());
    EXPECT_EQ(files[i].bytes_samples + files[i].bytes_between, static_cast<std::int64_t>(content.size()));
    EXPECT_FALSE(files[i].refused);
  }
  EXPECT_EQ(files[0].bytes_between, 0);
  EXPECT_EQ(files[1].bytes_between, 2);  // newlines
  EXPECT_EQ(files[2].bytes_between, 7);  // what stands before the document
}

TEST_F(ReadDocuments, ABatchEndsWhereALimitIsReached) {
  folder.write("a.jsonl", "aaaa\nbb\ncc\ndd\n");
  folder.write("b.yaml", "---\na: 1\n---\nb: 2\n");
  const DataSources sources = find({entry("a.jsonl"), entry("b.yaml")});
  DocumentReader by_bytes(sources, {4, 100});
  EXPECT_EQ(read(by_bytes), (std::vector<Texts>{{"0 line 1 aaaa"},
                                                {"0 line 2 bb", "0 line 3 cc"},
                                                {"0 line 4 dd", "1 line 1 ---\na: 1\n"},
                                                {"1 line 3 ---\nb: 2\n"}}));
  DocumentReader by_count(sources, {1000, 5});
  const auto batches = read(by_count);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].size(), 5u);
  EXPECT_EQ(batches[1], (Texts{"1 line 3 ---\nb: 2\n"}));
  EXPECT_EQ(by_count.take_files()[1].sha256, sha256_hex(folder.read("b.yaml")));
}

// Problems are reported in the order of files: those of the documents before come first.
TEST_F(ReadDocuments, ARefusedFileEndsItsBatchAndTheNextFollow) {
  folder.write("a.jsonl", "x\n");
  folder.write("b.yaml", "# nothing\n");
  folder.write("c.yaml", "a: \x01\n");
  folder.write("d.blockml", "y");
  const DataSources sources = find({entry("a.jsonl"), entry("b.yaml"), entry("c.yaml"), entry("d.blockml")});
  DocumentReader reader(sources);
  EXPECT_EQ(read(reader), (std::vector<Texts>{{"0 line 1 x", "E0306"}, {"E0304"}, {"3 whole 1 y"}}));
  const std::vector<ReadFile> files = reader.take_files();
  EXPECT_FALSE(files[0].refused);
  EXPECT_TRUE(files[1].refused);
  EXPECT_TRUE(files[2].refused);
  EXPECT_FALSE(files[3].refused);
}

TEST_F(ReadDocuments, NoFilesGiveNoBatch) {
  const DataSources sources;
  EXPECT_EQ(DocumentReader(sources).next_batch(), std::nullopt);
}

TEST_F(ReadDocuments, AFileThatChangesWhileItIsReadIsAnError) {
  folder.write("a.jsonl", "x\ny\n");
  const DataSources sources = find({entry("a.jsonl")});
  DocumentReader reader(sources, {1, 1});
  ASSERT_TRUE(reader.next_batch());
  folder.write("a.jsonl", "x\ny\nz\n");
  try {
    while (reader.next_batch()) {
    }
    FAIL() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0213");
  }
}

}  // namespace
}  // namespace shori
