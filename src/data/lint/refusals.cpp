// The rule text/refusal: where a model, and not a character, speaks.
#include <algorithm>
#include <array>
#include <bitset>

#include "shori/util/text.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

constexpr std::size_t kMaxClause = 300;  // bytes of a sentence that is read on each side

template <std::size_t N>
bool has_any(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return text.find(word) != kNotFound; });
}

// Said by no one in a story.
constexpr std::array<std::string_view, 21> kMachineTalk = {"ai language model",
                                                           "as a large language model",
                                                           "i'm a large language model",
                                                           "i am a large language model",
                                                           "as a language model",
                                                           "as an ai assistant",
                                                           "as an ai model",
                                                           "as an ai chatbot",
                                                           "as an ai system",
                                                           "as an ai developed",
                                                           "as an ai created",
                                                           "as an ai trained",
                                                           "as an artificial intelligence language",
                                                           "openai's polic",
                                                           "openai policy",
                                                           "openai's content",
                                                           "openai's use",
                                                           "als ki-sprachmodell",
                                                           "como modelo de lenguaje",
                                                           "como um modelo de linguagem",
                                                           "en tant que modèle de langage"};
// What a character of a story may say; a narrator does not.
constexpr std::array<std::string_view, 11> kMachineVoice = {"as an ai, i",
                                                            "as an ai i",
                                                            "i'm an ai assistant",
                                                            "i am an ai assistant",
                                                            "i'm just an ai",
                                                            "i am just an ai",
                                                            "i am only an ai",
                                                            "i'm only an ai",
                                                            "how can i assist you today",
                                                            "how may i assist you today",
                                                            "is there anything else i can help you with"};
constexpr std::array<std::string_view, 20> kCannot = {"i can't",
                                                      "i cannot",
                                                      "i can not",
                                                      "i am unable to",
                                                      "i'm unable to",
                                                      "i am not able to",
                                                      "i'm not able to",
                                                      "i won't",
                                                      "i will not",
                                                      "i must decline",
                                                      "i have to decline",
                                                      "i must refuse",
                                                      "i'm not allowed",
                                                      "i am not allowed",
                                                      "i'm not comfortable",
                                                      "i am not comfortable",
                                                      "i don't feel comfortable",
                                                      "i do not feel comfortable",
                                                      "i must respectfully decline",
                                                      "i will have to decline"};
constexpr std::array<std::string_view, 18> kServices = {
    "assist", "fulfill", "fulfil", "comply",      "continue", "engage",  "generat",   "create", "creating",
    "provid", "produc",  "writ",   "participate", "roleplay", "support", "role-play", "help",   "complet"};
// Words for the conversation itself, which no story has of its own.
constexpr std::array<std::string_view, 14> kMeta = {
    "roleplay",          "role-play",         "role play",          "explicit content",
    "sexually explicit", "explicit material", "explicit scene",     "nsfw",
    "content policy",    "content policies",  "content guidelines", "inappropriate content",
    "harmful content",   "your prompt"};
constexpr std::array<std::string_view, 19> kOffice = {
    "your request",  "that request",     "this request",         "such requests",    "such a request",
    "with requests", "this content",     "such content",         "that content",     "content that",
    "content of",    "assist with that", "assist you with that", "assist with this", "fulfill that",
    "fulfill this",  "fulfil that",      "comply with that",     "comply with this"};
constexpr std::array<std::string_view, 9> kPointing = {"with that",    "with this",  "generat",
                                                       "conversation", "scenario",   "writing that",
                                                       "writing this", "write that", "write this"};
constexpr std::array<std::string_view, 5> kApologies = {"sorry, but", "sorry but", "apologize, but", "apologise, but",
                                                        "apologies, but"};

// The first three bytes of every phrase. A block is searched once for these, not once for each of 52 phrases.
class PhraseStarts {
 public:
  PhraseStarts() {
    for (const std::string_view phrase : kMachineTalk) add(phrase);
    for (const std::string_view phrase : kMachineVoice) add(phrase);
    for (const std::string_view phrase : kCannot) add(phrase);
  }
  // Whether a phrase may begin with the three bytes at `at`.
  bool may_stand(std::string_view text, std::size_t at) const { return starts_[index(text, at)]; }

 private:
  // Of each byte the five bits in which letters differ.
  static std::size_t index(std::string_view text, std::size_t at) {
    return (text[at] & 31u) << 10 | (text[at + 1] & 31u) << 5 | (text[at + 2] & 31u);
  }
  void add(std::string_view phrase) { starts_.set(index(phrase, 0)); }

  std::bitset<32768> starts_;
};

std::size_t sentence_begin(std::string_view text, std::size_t at) {
  const std::size_t mark = at == 0 ? kNotFound : text.find_last_of(".!?\n", at - 1);
  const std::size_t begin = mark == kNotFound ? 0 : mark + 1;
  return std::max(begin, at - std::min(at, kMaxClause));
}

std::size_t sentence_end(std::string_view text, std::size_t at) {
  return std::min({text.find_first_of(".!?\n", at), text.size(), at + kMaxClause});
}

// The text in lower case with ASCII apostrophes, and where each of its bytes stands in the body.
class PlainText {
 public:
  explicit PlainText(std::string_view lower) : text_(lower) {
    std::size_t done = 0;
    for (std::size_t at = lower.find(kCurly); at != kNotFound; at = lower.find(kCurly, done)) {
      replaced_.append(lower, done, at - done) += '\'';
      curly_.push_back(replaced_.size());
      done = at + kCurly.size();
    }
    if (done > 0) text_ = replaced_.append(lower, done);
  }
  PlainText(const PlainText&) = delete;
  PlainText& operator=(const PlainText&) = delete;

  std::string_view text() const { return text_; }
  TextSpan span(std::size_t begin, std::size_t end) const { return {body_offset(begin), body_offset(end)}; }

 private:
  static constexpr std::string_view kCurly = "\xE2\x80\x99";

  std::size_t body_offset(std::size_t at) const {
    const auto before = std::upper_bound(curly_.begin(), curly_.end(), at) - curly_.begin();
    return at + static_cast<std::size_t>(before) * (kCurly.size() - 1);
  }

  std::string_view text_;
  std::string replaced_;            // the text, if it has curly apostrophes
  std::vector<std::size_t> curly_;  // where each of them ends in it
};

class RefusalLint {
 public:
  RefusalLint(std::string_view lower, BlockFindings& findings)
      : plain_(lower), text_(plain_.text()), findings_(findings) {}

  void run() {
    static const PhraseStarts starts;
    for (std::size_t at = 0; at + 2 < text_.size(); ++at) {
      if (starts.may_stand(text_, at) && !is_word_code_point(code_point_before(text_, at))) look_at(at);
    }
  }

 private:
  // Every phrase that begins at `at`.
  void look_at(std::size_t at) {
    for (const std::string_view phrase : kMachineTalk) {
      if (stands(at, phrase)) found(at, phrase);
    }
    for (const std::string_view phrase : kMachineVoice) {
      if (stands(at, phrase) && ends_word(at + phrase.size()) && !in_dialogue(at)) found(at, phrase);
    }
    for (const std::string_view phrase : kCannot) {
      if (stands(at, phrase) && ends_word(at + phrase.size()) && refuses(at, at + phrase.size())) found(at, phrase);
    }
  }

  bool stands(std::size_t at, std::string_view phrase) const { return text_.substr(at).starts_with(phrase); }
  void found(std::size_t at, std::string_view phrase) {
    findings_.add(LintRule::kRefusal, plain_.span(at, at + phrase.size()));
  }

  bool ends_word(std::size_t end) const { return !is_word_code_point(code_point_after(text_, end)); }

  // Between quotes of its line.
  bool in_dialogue(std::size_t at) const {
    bool inside = false;
    for (std::size_t i = at == 0 ? 0 : text_.rfind('\n', at - 1) + 1; i < at; ++i) {
      if (text_[i] == '"') inside = !inside;
      if (text_.substr(i).starts_with("\xE2\x80\x9C")) inside = true;
      if (text_.substr(i).starts_with("\xE2\x80\x9D")) inside = false;
    }
    return inside;
  }

  // "I cannot" is a refusal of a program where its sentence speaks of the chat as one.
  bool refuses(std::size_t begin, std::size_t end) const {
    const std::string_view rest = text_.substr(end, std::max(sentence_end(text_, begin), end) - end);
    if (!has_any(rest, kServices)) return false;
    if (has_any(rest, kMeta)) return true;
    if (in_dialogue(begin)) return false;
    if (has_any(rest, kOffice)) return true;
    const std::size_t first = sentence_begin(text_, begin);
    return has_any(text_.substr(first, begin - first), kApologies) && has_any(rest, kPointing);
  }

  PlainText plain_;
  std::string_view text_;
  BlockFindings& findings_;
};

}  // namespace

void lint_refusals(const LintedText& text, BlockFindings& findings) { RefusalLint(text.lower, findings).run(); }

}  // namespace shori
