// One document to samples, for each type of data, and the same on any number of threads.
#include "src/data/documents/encode_documents.h"

#include <algorithm>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

using Ints = std::vector<std::int32_t>;

class EncodeDocuments : public DatasetTest {
 protected:
  // Encodes the one conversation of a file `path`; `entry_options` by way of entries().
  EncodingNotes encode(const DataEntry& of, const std::string& content) {
    folder.write(of.path, content);
    sources = find_sources({of}, {}, true, diagnostics);
    document = Document();
    document.source.is_line = sources.files.at(0).lines;
    document.content = content;
    return encode_document(document, {options, &test_tokenizer(), sources});
  }

  std::int64_t dropped(DropRule rule) const { return document.counts.dropped[static_cast<std::size_t>(rule)]; }

  DataSources sources;
  Document document;
};

TEST_F(EncodeDocuments, BlockmlInAFile) {
  const EncodingNotes notes = encode(entry("a.blockml"), kDocumentA);
  EXPECT_FALSE(document.failed);
  EXPECT_EQ(document.source.id, "a.blockml");
  EXPECT_EQ(document.source.text_sha256, sha256_hex(kDocumentA));
  EXPECT_EQ(document.content.capacity(), std::string().capacity()) << "the text is not kept";
  ASSERT_EQ(document.samples.size(), 1u);
  EXPECT_EQ(document.samples[0].ids.size(), 84u);
  EXPECT_EQ(document.counts.conversations, 1);
  EXPECT_EQ(document.counts.unique, 82);
  EXPECT_EQ(document.counts.tokens_in, 84);
  EXPECT_EQ(document.counts.bytes_text, static_cast<std::int64_t>(kDocumentA.size()));
  EXPECT_FALSE(notes.blocks) << "nobody looks at them";
}

TEST_F(EncodeDocuments, BlockmlInALineAndInYamlGiveTheSameSample) {
  encode(entry("a.blockml"), "▀message\nhello▄\n");
  const Ints ids = document.samples.at(0).ids;
  DataEntry line = entry("a.jsonl");
  line.category = "low";
  EncodingNotes notes =
      encode(line, "{\"text\": \"▀message\\nhello▄\\n\", \"id\": \"i\", \"rating\": \"pg13\", \"x\": 1}");
  EXPECT_EQ(document.samples.at(0).ids, ids);
  EXPECT_EQ(document.source.id, "i");
  EXPECT_EQ(document.source.category, "low");
  EXPECT_EQ(document.source.rating, "pg13");
  EXPECT_EQ(notes.unknown_keys, Texts{"x"});
  notes = encode(entry("a.yaml"), "id: y\ncategory: top\nmessages: [{text: hello, length: auto}]\n");
  EXPECT_EQ(document.source.id, "y");
  EXPECT_EQ(document.source.category, "top");
  EXPECT_FALSE(notes.lacks_lengths);
  EXPECT_NE(document.samples.at(0).ids, ids) << "auto adds a length";
  encode(entry("a.yaml"), "messages: [{text: hello}]\n");
  EXPECT_EQ(document.samples.at(0).ids, ids);
}

TEST_F(EncodeDocuments, CompletionAndTokenized) {
  encode(entry("a.txt", "completion"), "hello world hello");
  EXPECT_EQ(document.samples.at(0).ids, (Ints{1, 6312, 28709, 1526, 6312, 28709, 2}));
  EXPECT_EQ(document.samples[0].trained, std::vector<std::uint8_t>(7, 1));
  encode(entry("a.jsonl", "completion"), "{\"text\": \"hello world hello\"}");
  EXPECT_EQ(document.samples.at(0).ids.size(), 7u);
  encode(entry("a.jsonl", "tokenized"), "{\"input_ids\": [1, 8, 9], \"labels\": [-100, -100, 9]}");
  EXPECT_EQ(document.samples.at(0).ids, (Ints{1, 8, 9}));
  EXPECT_EQ(document.samples[0].trained, (std::vector<std::uint8_t>{0, 0, 1}));
  EXPECT_EQ(document.source.text_sha256.size(), 64u);
}

TEST_F(EncodeDocuments, ADocumentWithAProblemHasNoSamples) {
  struct Case {
    DataEntry of;
    std::string content, why;
  };
  const Case cases[] = {
      {.of = entry("a.blockml"), .content = "▀message\nx", .why = "a block that is not closed"},
      {.of = entry("a.yaml"), .content = "messages: 3\n", .why = "no list of messages"},
      {.of = entry("a.jsonl"), .content = "{\"text\": 1}", .why = "the text is a number"},
      {.of = entry("a.txt", "completion"), .content = "", .why = "nothing to complete"},
      {.of = entry("b.jsonl", "tokenized"), .content = "{}", .why = "no ids"},
  };
  for (const auto& [of, content, why] : cases) {
    const EncodingNotes notes = encode(of, content);
    EXPECT_TRUE(document.failed) << why;
    EXPECT_EQ(notes.problems.size(), 1u) << why;
    EXPECT_TRUE(document.samples.empty()) << why;
  }
}

TEST_F(EncodeDocuments, SkippedOverlongAndUntrainedDocumentsAreCounted) {
  options.skip_samples = {"a.blockml"};
  encode(entry("a.blockml"), kDocumentA);
  EXPECT_TRUE(document.skipped);
  EXPECT_TRUE(document.samples.empty());
  EXPECT_EQ(dropped(DropRule::kSkipped), 84);
  options.skip_samples.clear();
  options.sequence_len = 83;
  encode(entry("a.blockml"), kDocumentA);
  EXPECT_EQ(document.overlong.length, 84);
  EXPECT_FALSE(document.overlong.is_part());
  options.overlong = OverlongPolicy::kDrop;
  encode(entry("a.blockml"), kDocumentA);
  EXPECT_EQ(document.overlong.length, 0);
  EXPECT_EQ(dropped(DropRule::kOverlong), 84);
  options.overlong = OverlongPolicy::kSplit;
  options.sequence_len = 20;
  encode(entry("a.blockml"), kDocumentA);
  EXPECT_TRUE(document.overlong.is_part());
  options.sequence_len = 1000;
  options.train_on_inputs = false;
  options.train_on_eos = false;
  options.roles_to_train = {"ooc"};
  encode(entry("a.blockml"), kDocumentA);
  EXPECT_TRUE(document.samples.empty());
  EXPECT_EQ(dropped(DropRule::kUntrained), 84);
}

TEST_F(EncodeDocuments, TheRatingOfTheFileBesideDecidesAndIsNoted) {
  DataEntry rated = entry("a.blockml");
  rated.rating = {"pg13"};
  folder.write("ratings.yaml", "a.blockml: explicit\nother: pg13\n");
  const EncodingNotes notes = encode(rated, kDocumentA);
  EXPECT_EQ(notes.rating_row, "a.blockml");
  EXPECT_TRUE(document.filtered);
  EXPECT_TRUE(document.samples.empty());
  EXPECT_EQ(dropped(DropRule::kRating), 84);
  EXPECT_EQ(document.counts.tokens_in, 84);
}

TEST_F(EncodeDocuments, ThreadsChangeNothing) {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += text_line("▀message\nnumber " + std::to_string(i * i) + "▄\n");
  folder.write("a.jsonl", lines);
  sources = find_sources({entry("a.jsonl")}, {}, true, diagnostics);
  const auto run = [&](int threads, std::vector<std::uint64_t>& progress) {
    options.threads = threads;
    std::vector<Document> documents(200);
    for (std::size_t i = 0; i < documents.size(); ++i) {
      documents[i].source.line = i + 1;
      documents[i].source.is_line = true;
      documents[i].content = "{\"text\": \"▀message\\nnumber " + std::to_string(i * i) + "▄\"}";
    }
    const auto notes = encode_documents(documents, {options, &test_tokenizer(), sources},
                                        [&](std::uint64_t bytes) { progress.push_back(bytes); });
    EXPECT_EQ(notes.size(), documents.size());
    return documents;
  };
  std::vector<std::uint64_t> alone, together;
  const std::vector<Document> one = run(1, alone), four = run(4, together);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].source.id, "a.jsonl:" + std::to_string(i + 1));
    EXPECT_EQ(one[i].source.id, four[i].source.id);
    EXPECT_EQ(one[i].source.text_sha256, four[i].source.text_sha256);
    EXPECT_EQ(one[i].samples.at(0).ids, four[i].samples.at(0).ids);
  }
  EXPECT_EQ(alone.back(), together.back());
  EXPECT_TRUE(std::is_sorted(alone.begin(), alone.end()));
}

}  // namespace
}  // namespace shori
