// Replies to one prompt, for scripts: text or JSON on stdout and nothing else.
#pragma once

#include <cstdint>
#include <string>

#include "shori/chat/chat_settings.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"

namespace shori {

struct ScriptOptions {
  std::string prompt;
  int count = 1;
  bool json = false;
  bool stop_at_blocks = true;
  std::uint64_t seed = 0;
  ReplySettings reply = {};
};

// Before a model is loaded: the text of a file, or of stdin for "-", as plain_text() has it. E0108, E0304, E0317; W0101 if it
// is empty.
std::string read_prompt_file(const std::string& file);

// Reply number i of `count` has the draws of reply i under the seed. JSON: one object a line with
// text, tokens, prompt_tokens, stop, seed, reply, hint, bucket, impersonated, repetition. E0409 for a prompt that is too
// long. Throws Stopped when a stop was requested.
void run_script(LanguageModel& model, const Tokenizer& tokenizer, const ScriptOptions& options);

}  // namespace shori
