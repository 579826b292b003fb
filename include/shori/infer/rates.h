// Numbers about a reply that show how a model keeps to the form: did it answer at the asked length, for the asked
// character, and without repeating itself?
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/generate.h"

namespace shori {

// The message that a prompt leaves open: what follows its last `▀message` head. Views into the prompt.
struct OpenMessage {
  LengthHint hint = LengthHint::kNone;
  std::string_view speaker;                // that the prompt asks for: "Reimu" of "Reimu:"; empty: none
  std::string_view body;                   // with the speaker
  std::vector<std::string_view> speakers;  // of the messages before it, each once
};
// nullopt if the prompt does not end inside a message.
std::optional<OpenMessage> find_open_message(std::string_view prompt);

// Whether a message of `asked` (empty: of whoever it names first) lets another character speak: the message begins with
// another name, or a later line begins with the name of one of `others` and a colon.
bool speaks_for_another(std::string_view body, std::string_view asked, std::span<const std::string_view> others);

// The share of the 4-grams of ids in `reply` that occur before, in the prompt or in the reply; 0 below four ids.
double repetition(std::span<const std::int32_t> prompt, std::span<const std::int32_t> reply);

struct ReplyRates {
  LengthHint hint = LengthHint::kNone;    // asked
  LengthHint bucket = LengthHint::kNone;  // reached; kNone: the reply is no message
  bool impersonated = false;
  double repetition = 0;
};
// `prompt_ids` are the ids of `prompt`, with or without BOS.
ReplyRates rate_reply(const Tokenizer& tokenizer, std::string_view prompt, std::span<const std::int32_t> prompt_ids,
                      const Reply& reply);

}  // namespace shori
