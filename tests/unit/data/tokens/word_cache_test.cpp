// Encoding by words gives the ids and offsets of the SentencePiece library, and is not used for vocabularies where it could not.
#include "src/data/tokens/word_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "shori/data/tokenizer_model.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "tests/support/environment.h"
#include "tests/support/library_tokenizer.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

using Ids = std::vector<std::int32_t>;
using test::library_tokenizer;
using test::mistral_tokenizer;

const TokenizerModel& mistral_model() {
  static const TokenizerModel model = [] {
    const std::string path = required_variable("SHORI_TOKENIZER");
    return parse_tokenizer_model(read_whole_file(InputFile::open(path), kTokenizerFileBytes, "E0211"), path);
  }();
  return model;
}

TokenizerModel with_piece(TokenizerModel model, const std::string& text, PieceType type) {
  model.pieces.push_back({text, 1, type});
  return model;
}

Tokenizer tokenizer_of(const TokenizerModel& model) {
  return Tokenizer::from_bytes(serialize_tokenizer_model(model), "tokenizer.model");
}

// Small, so that many pieces have the same score and many characters are unknown: normal pieces after the byte pieces.
TokenizerModel small_model() {
  TokenizerModel model;
  model.byte_fallback = true;
  model.remove_extra_whitespaces = false;
  model.pieces = {{"<unk>", 0, PieceType::kUnknown}, {"<s>", 0, PieceType::kControl}, {"</s>", 0, PieceType::kControl}};
  for (unsigned byte = 0; byte < 256; ++byte) model.pieces.push_back({byte_piece(byte), 0, PieceType::kByte});
  for (const char* text : {"▀", "▄", "▁", "a", "b", "c", "é"}) model.pieces.push_back({text, -9, PieceType::kNormal});
  for (const char* text : {"aa", "ab", "ba", "bb", "▁▁", "▁a", "éb"})
    model.pieces.push_back({text, -1, PieceType::kNormal});
  for (const char* text : {"aab", "aba", "bab", "abab", "▁▁▁", "▁▁a", "▁ab"})
    model.pieces.push_back({text, -2, PieceType::kNormal});
  return model;
}

class RandomTexts {
 public:
  RandomTexts(const TokenizerModel& model, unsigned seed) : model_(model), random_(seed) {}

  std::string next() {
    std::string text;
    const std::size_t kind = below(4);
    for (std::size_t i = below(kind == 0 ? 6 : 40); i > 0; --i) {
      if (kind == 1) {
        text += random_piece();
      } else if (kind == 2) {
        static const std::vector<std::string> kFew = {"a", "a", "b", "c", "é", " ", "\n"};
        text += kFew[below(kFew.size())];
      } else {
        text += random_atom();
      }
    }
    return text;
  }

  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  std::string random_atom() {
    static const std::vector<std::string> kAtoms = {
        " ",    "  ",   "    ",     "\n",     "\n\n",     "\t",    "a",      "ab",     "the",    " the",
        "ing",  "ing ", "▀",        "▄",      "▀message", "▄\n",   "é",      "日本",   "🙂",     "👩‍👩‍👧",
        "𒀀",    ".",    "\"",       "'",      "-",        "0",     "12",     "\r\n",   "Ω",      "{",
        "//",   "<s>",  "</s>",     "[INST]", "<0x0A>",   "<unk>", "\u00a0", "\u3000", "\u0301", "qu",
        "tion", "A",    "Konrad: ", "naïve",  "…"};
    static const std::vector<std::string> kForLibrary = {"▁",
                                                         "\xE2\x96",
                                                         "\xFF",
                                                         "\xF0\x9F",
                                                         "\xED\xA0\x80",
                                                         "\xC0\xAF",
                                                         std::string(1, '\0'),
                                                         "a" + std::string(1, '\0')};
    if (below(60) == 0) return kForLibrary[below(kForLibrary.size())];
    if (below(60) == 0)
      return std::string(below(2 * WordBpe::kMaxWordBytes), "a ="[below(3)]);  // many are too long for a word
    return kAtoms[below(kAtoms.size())];
  }

  // With a space for ▁, so that the word cache takes it.
  std::string random_piece() {
    std::string text = model_.pieces[below(model_.pieces.size())].text;
    for (std::size_t at; (at = text.find(kSpaceMark)) != std::string::npos;) text.replace(at, kSpaceMark.size(), " ");
    return text;
  }

  const TokenizerModel& model_;
  std::mt19937 random_;
};

std::string hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : text) out += concat(kDigits[static_cast<unsigned char>(c) >> 4], kDigits[c & 15], ' ');
  return out;
}

// Ids of every text, and offsets of those that are UTF-8.
void expect_equal(const Tokenizer& ours, const Tokenizer& library, const std::string& text) {
  const Ids ids = library.encode(text);
  ASSERT_EQ(ours.encode(text), ids) << hex(text);
  if (find_invalid_utf8(text)) return;
  const EncodedText encoded = ours.encode_with_offsets(text);
  ASSERT_EQ(encoded.ids, ids) << hex(text);
  ASSERT_EQ(encoded.ends, library.encode_with_offsets(text).ends) << hex(text);
}

void compare_with_library(const TokenizerModel& model, unsigned seed, int count) {
  const Tokenizer ours = tokenizer_of(model), library = library_tokenizer(model);
  ASSERT_TRUE(ours.uses_word_cache()) << ours.word_cache_obstacle();
  ASSERT_FALSE(library.uses_word_cache());
  RandomTexts texts(model, seed);
  for (int i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) expect_equal(ours, library, texts.next());
}

TEST(WordCache, GivesTheIdsAndOffsetsOfTheLibrary) { compare_with_library(mistral_model(), 1, 6000); }

TEST(WordCache, GivesThemForAVocabularyOfEqualScores) { compare_with_library(small_model(), 2, 6000); }

TEST(WordCache, GivesThemForConversations) {
  const Tokenizer library = library_tokenizer(mistral_model());
  test::RandomDocuments random(4);
  for (int i = 0; i < 100 && !HasFatalFailure(); ++i)
    expect_equal(mistral_tokenizer(), library, render(random.segments()));
}

TEST(WordCache, GivesThemForWordsOfEveryLength) {
  const Tokenizer library = library_tokenizer(mistral_model());
  for (const std::string unit : {"a", " ", "é", "🙂", "\n", "𒀀", "ab"}) {
    const std::size_t longest = WordBpe::kMaxWordBytes / unit.size() + 3;
    std::string word;
    for (std::size_t count = 0; count <= longest; ++count, word += unit) {
      if (count > 30 && count + 6 < longest) continue;
      for (const char* around : {"", " ", "\n"})
        expect_equal(mistral_tokenizer(), library, concat("x", around, word, around, "x"));
      expect_equal(mistral_tokenizer(), library, word);
    }
  }
}

// What one call leaves in the cache is no part of the next one's result, whichever thread makes it.
TEST(WordCache, ThreadsAndRepetitionsGiveTheSameIds) {
  const Tokenizer ours = tokenizer_of(mistral_model()), library = library_tokenizer(mistral_model());
  RandomTexts random(mistral_model(), 3);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 1000; ++i) {
    texts.push_back(random.next());
    expected.push_back(library.encode(texts.back()));
  }
  std::vector<std::vector<Ids>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2; ++round) {
        for (const std::string& text : texts) result.push_back(ours.encode(text));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<Ids> once = expected;
  expected.insert(expected.end(), once.begin(), once.end());
  for (const auto& result : results) EXPECT_TRUE(result == expected);  // thousands of ids, too many to print
}

// Without this, a cache that refuses every text would pass: the library gives the same ids.
TEST(WordCache, TakesOrdinaryTextAndLeavesTheRestToTheLibrary) {
  WordCachePool pool(mistral_model());
  const std::unique_ptr<WordCache> cache = pool.take();
  const std::string longest(WordBpe::kMaxWordBytes, 'a');
  Ids ids = {7};
  const auto takes = [&](std::string_view text) { return cache->append(text, ids); };
  EXPECT_TRUE(takes(" The shrine"));
  EXPECT_TRUE(takes("\n▀message (length: tiny)\nReimu: “Hi” 🙂▄\n\n\t  x"));
  EXPECT_TRUE(takes(longest + " " + longest.substr(1)));
  const Ids before = ids;
  EXPECT_EQ(before.front(), 7);
  EXPECT_GT(before.size(), 20u);
  for (const std::string& text : {std::string("x a▁b"), std::string("x a\0b", 5), std::string("x \xFF"),
                                  std::string("x \xE2\x96"), "x " + longest}) {
    EXPECT_FALSE(takes(text)) << hex(text);
    EXPECT_EQ(ids, before);
  }
}

TEST(WordCache, IsUsedForMistral) {
  EXPECT_TRUE(mistral_tokenizer().uses_word_cache()) << mistral_tokenizer().word_cache_obstacle();
}

TEST(WordCache, IsNotUsedWhereWordsDependOnEachOther) {
  const TokenizerModel model = small_model();
  ASSERT_EQ(find_word_obstacle(model), std::nullopt);
  const auto obstacle = [](const TokenizerModel& changed) { return find_word_obstacle(changed).value_or("none"); };
  EXPECT_EQ(obstacle(with_piece(model, "a▁b", PieceType::kNormal)),
            "the piece `a▁b` has a space after another character");
  EXPECT_EQ(obstacle(with_piece(model, "▁a▁", PieceType::kNormal)),
            "the piece `▁a▁` has a space after another character");
  EXPECT_EQ(obstacle(with_piece(model, "a\n", PieceType::kNormal)), "the piece `a\\x0a` holds a newline");
  EXPECT_EQ(obstacle(with_piece(model, "ac", PieceType::kUserDefined)), "the piece `ac` is user-defined");
  EXPECT_EQ(obstacle(with_piece(model, "ac", PieceType::kUnused)), "the piece `ac` is unused");
  EXPECT_EQ(obstacle(with_piece(model, "ax", PieceType::kNormal)), "the piece `ax` has a character that is no piece");
  EXPECT_EQ(obstacle(with_piece(model, "$", PieceType::kControl)), "the piece `$` is a special piece of one character");
  EXPECT_EQ(obstacle(with_piece(model, "<pad>", PieceType::kControl)), "none");
  EXPECT_EQ(obstacle(with_piece(model, "ac", PieceType::kNormal)), "none");

  const auto changed = [&](const std::function<void(TokenizerModel&)>& change) {
    TokenizerModel copy = model;
    change(copy);
    return obstacle(copy);
  };
  EXPECT_EQ(changed([](TokenizerModel& copy) { copy.byte_fallback = false; }), "there is no byte fallback");
  EXPECT_EQ(changed([](TokenizerModel& copy) { copy.pieces[3 + 'A'].type = PieceType::kNormal; }),
            "there is no byte fallback");
  EXPECT_EQ(changed([](TokenizerModel& copy) { copy.remove_extra_whitespaces = true; }),
            "white space is not kept as it is");
  EXPECT_EQ(changed([](TokenizerModel& copy) { copy.add_dummy_prefix = false; }), "white space is not kept as it is");
  EXPECT_EQ(changed([](TokenizerModel& copy) { copy.pieces[3 + 256 + 2].type = PieceType::kControl; }),
            "there is no piece for the space");
}

// Tokenizers of such vocabularies give the library's ids, which those of single words would not be.
TEST(WordCache, LibraryEncodesWhatWordsCannot) {
  const Tokenizer across = tokenizer_of(with_piece(small_model(), "b▁a", PieceType::kNormal));
  const Tokenizer defined = tokenizer_of(with_piece(small_model(), "ac", PieceType::kUserDefined));
  const auto last = static_cast<std::int32_t>(small_model().pieces.size());
  for (const Tokenizer& tokenizer : {across, defined}) {
    EXPECT_FALSE(tokenizer.uses_word_cache());
    const Ids ids = tokenizer.encode("cb ac");
    EXPECT_EQ(std::count(ids.begin(), ids.end(), last), 1) << tokenizer.word_cache_obstacle();
  }
}

// A special piece of any kind and length, in a text that holds it: refused at load, or every text has ids whose offsets end
// at the end of the text.
TEST(WordCache, EverySpecialPieceInATextIsRefusedAtLoadOrEncoded) {
  const auto refusal = [](const char* text, PieceType type) -> std::string {
    try {
      tokenizer_of(with_piece(small_model(), text, type));
      return "accepted";
    } catch (const Error& error) {
      return error.code();
    }
  };
  for (const char* text : {"$", "é.", "日", "🙂", " ", "[", "\t"}) {
    const bool one_character = std::string_view(text) != "é.";
    EXPECT_EQ(refusal(text, PieceType::kControl), one_character ? "E0206" : "accepted") << text;
  }
  for (const char* text : {"$", "日", "🙂", "[PAD]", "<|im_end|>", "ac", "$$", "a$", "[INST]", "[/INST]"}) {
    for (const PieceType type : {PieceType::kControl, PieceType::kUserDefined, PieceType::kUnused}) {
      if (refusal(text, type) != "accepted") continue;
      const Tokenizer tokenizer = tokenizer_of(with_piece(small_model(), text, type));
      for (const std::string& document :
           {std::string(text), concat(" ", text), concat("a", text, "b"), concat(text, text, " ", text),
            concat("\n", text, "\n"), concat("▀", text, "▄\n")}) {
        EXPECT_EQ(tokenizer.encode_with_offsets(document).ends.back(), document.size()) << text << " in " << document;
      }
    }
  }
  EXPECT_EQ(refusal("<0x0A>", PieceType::kControl), "E0211");  // the same as the byte piece
  TokenizerModel unknown = small_model();
  unknown.pieces[0].text = "?";
  EXPECT_EQ(tokenizer_of(unknown).encode("a?"), (Ids{tokenizer_of(unknown).encode("a")[0], 3 + '?'}));
}

// What the tokenizer of Mistral 7B v0.3 gives for BlockML: https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.3
TEST(WordCache, InstructionMarksThatAreControlPiecesBecomeTheirIds) {
  TokenizerModel model = with_piece(small_model(), "[INST]", PieceType::kControl);
  const auto open = static_cast<std::int32_t>(model.pieces.size()) - 1;
  model = with_piece(model, "[/INST]", PieceType::kControl);
  TokenizerModel without_cache = with_piece(model, "zz", PieceType::kUserDefined);
  const Tokenizer plain = tokenizer_of(small_model());
  for (const Tokenizer& tokenizer : {tokenizer_of(model), tokenizer_of(without_cache)}) {
    struct Part {
      std::string text;
      Ids ids_before;
    };
    const auto expect = [&](const std::string& text, const std::vector<Part>& parts) {
      Ids expected;
      for (const auto& [part, ids] : parts) {
        expected.insert(expected.end(), ids.begin(), ids.end());
        if (part.empty()) continue;
        // Text after a mark has no dummy prefix: the ids after those of a newline.
        const Ids after_newline = plain.encode(concat("\n", part));
        expected.insert(expected.end(), after_newline.begin() + 2, after_newline.end());
      }
      EXPECT_EQ(tokenizer.encode(text), expected) << text;
      const EncodedText encoded = tokenizer.encode_with_offsets(text);
      EXPECT_EQ(encoded.ids, expected) << text;
      EXPECT_EQ(encoded.ends.back(), text.size()) << text;
    };
    expect("[INST] ab [/INST]\n▀", {{" ab ", {open}}, {"\n▀", {open + 1}}});
    expect("[INST][/INST]", {{"", {open}}, {"", {open + 1}}});
    expect("a[INST]b", {{"", plain.encode("a")}, {"b", {open}}});
    expect("\n[INST]\na", {{"", plain.encode("\n")}, {"\na", {open}}});
    expect("[INST", {{"", plain.encode("[INST")}});
  }
  EXPECT_EQ(tokenizer_of(small_model()).encode("[INST]").size(), 7u) << "no such piece: six characters as bytes";
}

}  // namespace
}  // namespace shori
