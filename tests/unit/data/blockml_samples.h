// Conversations that several tests of this layer use, and the real tokenizer.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/tokenizer.h"
#include "tests/support/environment.h"

namespace shori::test {

inline const Tokenizer& mistral_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(required_variable("SHORI_TOKENIZER"));
  return tokenizer;
}

inline const std::string kDocumentAHeader =
    "▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀description\nReimu\n**Name:** Reimu▄\n";
inline const std::string kDocumentA = kDocumentAHeader +
                                      "▀message (length: tiny)\nReimu: \"Hmm...\"▄\n"
                                      "[INST] Marisa is bored. [/INST]\n"
                                      "▀message\nMarisa: _Ugh._ \"Boring.\"▄\n";
inline const std::string kDocumentB =
    kDocumentA +
    "▀title\nThe shrine at night▄\n▀message\nReimu: \"It is quiet.\"▄\n"
    "▀description\nCirno\n**Name:** Cirno▄\n▀message\nCirno: \"Eye am the strongest!\"▄\n"
    "▀message\nReimu: \"No.\"▄\n";

// Parses text that must be accepted.
inline BlockmlDocument parsed(const std::string& text) {
  Diagnostics diagnostics;
  auto document = parse_blockml(text, {"test.blockml", 0}, diagnostics);
  for (const Diagnostic& problem : diagnostics.all()) ADD_FAILURE() << format_diagnostic(problem);
  return document ? std::move(*document) : BlockmlDocument();
}

// Canonical conversations of every role, with bodies of words, scripts, emoji, white space and marks of other kinds.
class RandomDocuments {
 public:
  explicit RandomDocuments(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return random_() % bound; }

  std::string body() {
    static const std::vector<std::string> kPieces = {
        "the", "Shrine", "maiden",  "...",     "\"Hi\"", "_sighs_", "**x**", "é",      "日本",  "😀",
        "\n",  "\n\n",   "  ",      "\t",      "▁",      "█",       "42",    "[/INST", "[INST", "(length: tiny)",
        ":",   "a:b",    "Ünïcode", "\xC2\xA0"};
    std::string text = "w";
    for (std::size_t i = below(30); i > 0; --i) text += (below(3) != 0 ? " " : "") + kPieces[below(kPieces.size())];
    return text + ".";
  }

  Segment segment(Role role) {
    Segment segment;
    segment.role = role;
    segment.body = body();
    if (role == Role::kMessage && below(2) == 0) segment.hint = static_cast<LengthHint>(below(10));
    if (role == Role::kMessage && below(4) != 0)
      segment.body = "Name " + std::to_string(below(5)) + (below(4) == 0 ? ":\n" : ": ") + segment.body;
    if (role == Role::kDescription) segment.body = "Name " + std::to_string(below(4)) + "\n" + segment.body;
    return segment;
  }

  std::vector<Segment> segments() {
    std::vector<Segment> result;
    for (std::size_t i = below(7); i > 0; --i) result.push_back(segment(static_cast<Role>(below(kRoleCount))));
    for (std::size_t i = below(25) + 1; i > 0; --i) {
      result.push_back(segment(below(2) == 0 ? Role::kMessage : static_cast<Role>(below(kRoleCount))));
    }
    result.push_back(segment(Role::kMessage));
    for (std::size_t i = below(3); i > 0; --i) result.push_back(segment(static_cast<Role>(below(kRoleCount))));
    return result;
  }

 private:
  std::mt19937 random_;
};

}  // namespace shori::test
