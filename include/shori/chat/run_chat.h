// A chat in the terminal: messages are typed, the model replies, commands begin with `/`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shori/chat/chat_settings.h"
#include "shori/config/vocabulary.h"
#include "shori/data/blockml.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"

namespace shori {

struct ChatOptions {
  std::vector<Segment> scenario = {};  // with or without messages
  std::string as, me;                  // characters of the model and of the user; empty: from the scenario
  LengthHint hint = LengthHint::kMedium;
  ReplySettings reply = {};
  std::uint64_t seed = 0;
};

// The segments of a BlockML file, which may have no message yet. E0108, and the errors of the file.
std::vector<Segment> read_conversation(const std::string& path);

// E0116 for names that no character can have, and for one name for both. Needs no model.
void check_chat_options(const ChatOptions& options);

// The words that `--length` and `/hint` take.
inline constexpr auto kHintWords = std::span(kWords<LengthHint>).first<10>();

// Talks until `/quit` or the end of the input. Throws Stopped when a stop was requested.
void run_chat(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options);

}  // namespace shori
