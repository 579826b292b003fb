// Replies to one prompt, for scripts: text or JSON on stdout and nothing else.
#pragma once

#include <cstdint>
#include <string>

#include "shori/chat/chat_settings.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"

namespace shori {

struct ScriptOptions {
  std::string prompt_file;  // "-": stdin
  int count = 1;
  bool json = false;
  bool stop_at_blocks = true;
  std::uint64_t seed = 0;
  ReplySettings reply = {};
};

// Reply number i of `count` has the draws of reply i under the seed. JSON: one object a line with
// text, tokens, prompt_tokens, stop, seed, reply, hint, bucket, impersonated, repetition. E0304 for a prompt that is not UTF-8, E0409 for one that is too
// long. Throws Stopped when a stop was requested.
void run_script(LanguageModel& model, const Tokenizer& tokenizer, const ScriptOptions& options);

}  // namespace shori
