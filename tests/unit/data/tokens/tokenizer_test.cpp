// Golden ids of the Mistral v1 tokenizer, and where each id ends in its text.
#include "shori/data/tokenizer.h"

#include <gtest/gtest.h>

#include <sstream>
#include <thread>

#include "shori/data/tokenizer_model.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "tests/support/environment.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using Ids = std::vector<std::int32_t>;
using test::mistral_tokenizer;

Ids numbers(const std::string& text) {
  std::istringstream in(text);
  return Ids(std::istream_iterator<std::int32_t>(in), {});
}

TEST(Tokenizer, KnowsItsSpecialIds) {
  const Tokenizer& tokenizer = mistral_tokenizer();
  EXPECT_EQ(tokenizer.sha256(), "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055");
  EXPECT_EQ(tokenizer.vocab_size(), 32000);
  EXPECT_EQ(tokenizer.open_id(), 30374);
  EXPECT_EQ(tokenizer.close_id(), 30213);
  EXPECT_EQ(tokenizer.newline_id(), 13);
  EXPECT_EQ(tokenizer.piece(29055), "█");
  EXPECT_EQ(tokenizer.piece(28705), "▁");
  EXPECT_THROW(tokenizer.piece(32000), Error);
  EXPECT_THROW(tokenizer.piece(-1), Error);
}

TEST(Tokenizer, GivesTheGoldenIds) {
  const std::string blocks_a_b =
      "28705 30374 3901 330 8708 10824 30213 13 30374 12586 264 28725 287 30213 13 30374 1324 325 2143 28747 10312 "
      "28731 1298 "
      "321 28718 28747 345 23809 28739 30213";
  struct Golden {
    std::string text, ids;
  };
  const Golden cases[] = {
      {"", ""},
      {"▀message\n", "28705 30374 1324 13"},
      {"▀message\nx▄\n", "28705 30374 1324 13 28744 30213 13"},
      {"▀title\nA strange incident▄\n", "28705 30374 3901 13 28741 8708 10824 30213 13"},
      {"▀title\nA strange incident▄", "28705 30374 3901 13 28741 8708 10824 30213"},
      {"▀title\nA strange incident in Gensokyo▄\n▀tags\nbarrier, danmaku, magic, reimu, marisa▄\n",
       "28705 30374 3901 13 28741 8708 10824 297 420 596 493 12141 30213 13 30374 12586 13 1822 5118 28725 11555 28719 "
       "17103 28725 9693 28725 "
       "312 321 28718 28725 1829 7682 30213 13"},
      {"▀title\nx▄\n", "28705 30374 3901 13 28744 30213 13"},
      {"▀tags\nx▄\n", "28705 30374 12586 13 28744 30213 13"},
      {"▀lore\nx▄\n", "28705 30374 28714 431 13 28744 30213 13"},
      {"▀scenario\nx▄\n", "28705 30374 824 22786 13 28744 30213 13"},
      {"▀description\nx▄\n", "28705 30374 6518 13 28744 30213 13"},
      {"▀ooc\nx▄\n", "28705 30374 28709 402 13 28744 30213 13"},
      {"▀message (length: medium)\nReimu: \"Hi\"▄\n",
       "28705 30374 1324 325 2143 28747 10312 28731 13 1925 321 28718 28747 345 23809 28739 30213 13"},
      {"▀message (length: medium)\nReimu:", "28705 30374 1324 325 2143 28747 10312 28731 13 1925 321 28718 28747"},
      {"▀message (length: medium)\nReimu: ",
       "28705 30374 1324 325 2143 28747 10312 28731 13 1925 321 28718 28747 28705"},
      {"▀message (length: tiny)\nReimu:", "28705 30374 1324 325 2143 28747 8887 28731 13 1925 321 28718 28747"},
      {"▀message\nChen: x▄\n[INST] Be safe. [/INST]\n▀message\nYukari: y▄\n",
       "28705 30374 1324 13 28743 540 28747 1318 30213 13 28792 16289 28793 1739 5023 28723 733 28748 16289 28793 13 "
       "30374 1324 13 28802 2950 "
       "1900 28747 337 30213 13"},
      {"▀message\nChen: x▄\n\n[INST] Be safe. [/INST]\n\n▀message\nYukari: y▄\n",
       "28705 30374 1324 13 28743 540 28747 1318 30213 13 13 28792 16289 28793 1739 5023 28723 733 28748 16289 28793 "
       "13 13 30374 1324 13 28802 "
       "2950 1900 28747 337 30213 13"},
      {"▀message Chen: x▄\n\n[INST] Be safe. [/INST]\n\n▀message Yukari: y▄",
       "28705 30374 1324 17038 28747 1318 30213 13 13 28792 16289 28793 1739 5023 28723 733 28748 16289 28793 13 13 "
       "30374 1324 627 2950 1900 "
       "28747 337 30213"},
      {"[INST] Write a safe conversation suitable for all audiences. Don't be vulgar or sexually explicit. "
       "[/INST]\n▀message\nReimu: x▄\n",
       "733 16289 28793 12018 264 5023 7114 11633 354 544 24460 28723 3189 28742 28707 347 10320 4749 442 3142 1323 "
       "9629 28723 733 28748 16289 "
       "28793 13 30374 1324 13 1925 321 28718 28747 1318 30213 13"},
      {"▀message\nReimu: \"Hmm...\"▄\n▀message\nMarisa: \"Ooohh!\"▄\n",
       "28705 30374 1324 13 1925 321 28718 28747 345 28769 3221 7508 30213 13 30374 1324 13 7308 7682 28747 345 28762 "
       "28709 1371 28716 2781 "
       "30213 13"},
      {"▀title A strange incident▄", "28705 30374 3901 330 8708 10824 30213"},
      {"▀title A strange incident▄\n▀tags a, b▄\n▀message (length: medium) Reimu: \"Hi\"▄", blocks_a_b},
      {"▀title\nA strange incident▄\n▀tags\na, b▄\n▀message (length: medium)\nReimu: \"Hi\"▄\n",
       "28705 30374 3901 13 28741 8708 10824 30213 13 30374 12586 13 28708 28725 287 30213 13 30374 1324 325 2143 "
       "28747 10312 28731 13 1925 "
       "321 28718 28747 345 23809 28739 30213 13"},
      {"▀lore x▄", "28705 30374 28714 431 1318 30213"},
      {"▀scenario x▄", "28705 30374 824 22786 1318 30213"},
      {"▀description x▄", "28705 30374 6518 1318 30213"},
      {"▀ooc x▄", "28705 30374 28709 402 1318 30213"},
      {"▄\n▀", "28705 30213 13 30374"},
      {" ▀message", "259 30374 1324"},
      {"_Ugh._", "583 28779 591 1573"},
      {"*Thud*", "398 1227 554 28736"},
      {"**no**", "619 1510 348"},
      {"''word''", "9842 2186 5437"},
      {"```markdown\nx\n```", "8789 3325 3254 13 28744 13 13940 28832"},
      {"😀 \"Hi\"", "28705 30575 345 23809 28739"},
      {"é🙂", "1233 29340"},
      {"<s>", "523 28713 28767"},
      {"<s>a</s>", "523 28713 28767 28708 700 28713 28767"},
      {" x  y   z", "28705 1318 28705 337 259 686"},
      {"\n", "28705 13"},
      {"\tx", "28705 12 28744"},
      {test::kDocumentA,
       "28705 30374 3901 13 28741 8708 10824 30213 13 30374 12586 13 1822 5118 28725 11555 28719 17103 30213 13 30374 "
       "6518 13 1925 321 28718 "
       "13 348 952 4049 1298 321 28718 30213 13 30374 1324 325 2143 28747 8887 28731 13 1925 321 28718 28747 345 28769 "
       "3221 7508 30213 13 "
       "28792 16289 28793 1471 7682 349 19739 28723 733 28748 16289 28793 13 30374 1324 13 7308 7682 28747 583 28779 "
       "591 1573 345 28760 4590 "
       "611 30213 13"},
  };
  for (const auto& [text, ids] : cases) {
    EXPECT_EQ(mistral_tokenizer().encode(text), numbers(ids)) << text;
    EXPECT_EQ(mistral_tokenizer().encode_with_offsets(text).ids, numbers(ids)) << text;
  }
}

TEST(Tokenizer, GivesTheGoldenIdsOfLengthWords) {
  struct Golden {
    std::string word, ids;
  };
  const Golden words[] = {
      {.word = "nano", .ids = "307 2503"}, {.word = "micro", .ids = "7817"},   {.word = "tiny", .ids = "8887"},
      {.word = "short", .ids = "2485"},    {.word = "medium", .ids = "10312"}, {.word = "long", .ids = "1043"},
      {.word = "massive", .ids = "9130"},  {.word = "huge", .ids = "5401"},    {.word = "enormous", .ids = "15322"},
  };
  for (const auto& [word, ids] : words) {
    EXPECT_EQ(mistral_tokenizer().encode("▀message (length: " + word + ")\nx▄\n"),
              numbers("28705 30374 1324 325 2143 28747 " + ids + " 28731 13 28744 30213 13"));
  }
}

// Ids line by line, each line but the first with its newline in front and without the dummy prefix.
Ids encode_lines(const std::string& text) {
  Ids ids;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin + 1), text.size());
    const Ids line = mistral_tokenizer().encode(text.substr(begin, end - begin));
    ids.insert(ids.end(), line.begin() + (begin == 0 ? 0 : 1), line.end());
    begin = end;
  }
  return ids;
}

// Short texts show that lines are independent: they go to the library in one call. Long ones go in several.
TEST(Tokenizer, IdsOfATextAreThoseOfItsLines) {
  test::RandomDocuments random(12);
  for (int i = 0; i < 200; ++i) {
    std::string text = "x";
    const std::size_t size = i < 180 ? 4000 : 60000;
    while (text.size() < size)
      text += random.body() + std::string(random.below(3), '\n') + std::string(random.below(4), ' ');
    if (i < 180) text.resize(size);  // may cut a character
    if (i >= 190) text += std::string(9000, '\n') + "  \n x" + std::string(5000, 'a') + "\n\xE2\x96\n";
    EXPECT_EQ(mistral_tokenizer().encode(text), encode_lines(text));
  }
}

TEST(Tokenizer, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(mistral_tokenizer().encode("a\xFF"), mistral_tokenizer().encode("a\xEF\xBF\xBD"));
  EXPECT_EQ(mistral_tokenizer().encode("a\xFF").back(), 29137);
}

// What an id covers: its piece with ▁ for a space (or for a literal ▁), or, for byte pieces, a whole character at its
// last byte.
void expect_ends_fit(const std::string& text) {
  const EncodedText encoded = mistral_tokenizer().encode_with_offsets(text);
  ASSERT_EQ(encoded.ids, mistral_tokenizer().encode(text)) << text;
  ASSERT_EQ(encoded.ends.size(), encoded.ids.size());
  std::string bytes, from_pieces;
  std::uint32_t begin = 0;
  for (std::size_t i = 0; i < encoded.ids.size(); ++i) {
    const std::string piece(mistral_tokenizer().piece(encoded.ids[i]));
    const std::string surface = text.substr(begin, encoded.ends[i] - begin);
    begin = encoded.ends[i];
    const bool is_byte = encoded.ids[i] >= 3 && encoded.ids[i] < 259;
    if (is_byte) {
      bytes += static_cast<char>(encoded.ids[i] - 3);
      if (!surface.empty()) {
        EXPECT_EQ(std::exchange(bytes, ""), surface);
      }
      continue;
    }
    std::string marked;
    for (const char c : surface) marked += c == ' ' ? "▁" : std::string(1, c);
    EXPECT_EQ((i == 0 ? "▁" : "") + marked, piece) << text;
    EXPECT_EQ(bytes, "");
  }
  EXPECT_EQ(begin, text.size());
}

TEST(Tokenizer, EndsCoverTheTextExactly) {
  for (const char* text :
       {"", "x", " ", "  x  y ", "▁", "▁x", " ▁ a▁b", "\n", "é🙂 𒀀𒀁 x", "𒀀", "a\tb\n\nc", "▀message\nx▄\n"})
    expect_ends_fit(text);
  test::RandomDocuments random(11);
  for (int i = 0; i < 300; ++i) expect_ends_fit(render(random.segments()));
}

TEST(Tokenizer, EncodesOnSeveralThreadsAtOnce) {
  test::RandomDocuments random(3);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 60; ++i) {
    texts.push_back(render(random.segments()));
    expected.push_back(mistral_tokenizer().encode(texts.back()));
  }
  std::vector<std::vector<Ids>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&result, &texts, tokenizer = mistral_tokenizer()] {
      for (const std::string& text : texts) result.push_back(tokenizer.encode_with_offsets(text).ids);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, RefusesAMissingFileAndAnotherVocabulary) {
  const auto code_of = [](const auto& load) {
    try {
      load();
    } catch (const Error& error) {
      return error.code();
    }
    return std::string("none");
  };
  const std::string path = required_variable("SHORI_TOKENIZER");
  EXPECT_EQ(code_of([] { Tokenizer::load("/no/such/tokenizer.model"); }), "E0203");
  EXPECT_EQ(code_of([&] { Tokenizer::load(path, 31999); }), "E0205");
  EXPECT_EQ(code_of([&] { Tokenizer::load(path, 32768); }), "none");
  EXPECT_EQ(code_of([&] { Tokenizer::load(path, 32000); }), "none");
}

}  // namespace
}  // namespace shori
