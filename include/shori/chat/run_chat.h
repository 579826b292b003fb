// A chat in the terminal: messages are typed, the model replies, commands begin with `/`.
#pragma once

#include <cstdint>
#include <string>

#include "shori/chat/chat_settings.h"
#include "shori/config/vocabulary.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"

namespace shori {

struct ChatOptions {
  std::string scenario;  // a BlockML file, with or without messages; empty: none
  std::string as, me;    // characters of the model and of the user; empty: from the scenario
  LengthHint hint = LengthHint::kMedium;
  ReplySettings reply = {};
  std::uint64_t seed = 0;
};

// The words that `--length` and `/hint` take.
inline constexpr auto kHintWords = std::span(kWords<LengthHint>).first<10>();

// Talks until `/quit` or the end of the input. Throws Stopped when a stop was requested.
void run_chat(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options);

}  // namespace shori
