// One reply of a language model.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"
#include "shori/infer/sampler.h"

namespace shori {

// Why a reply ended. kNextBlock: the model began another block, ▀, without closing this one.
enum class StopReason { kBlockEnd, kEos, kNextBlock, kLength, kCancelled, kStopString };
template <>
inline constexpr auto kWords<StopReason> =
    word_list("block_end", "eos", "next_block", "length", "cancelled", "stop_string");

struct GenerateOptions {
  SamplerSettings sampler = {};
  std::uint64_t seed = 0;
  std::uint32_t reply = 0;  // number of the reply in its conversation
  std::int64_t max_tokens = 512;
  std::vector<std::string> stop_strings =
      {};                      // valid UTF-8; the text ends before the first one; empty ones are ignored
  bool stop_at_blocks = true;  // false: ▄, ▀ and EOS do not end the reply
  bool bos = true;             // BOS comes before the prompt
};

struct GenerateEvents {
  // The next part of the text. Their sum is Reply::text: what may be the begin of a stop string, trailing white space, and
  // bytes of a character that is not whole are held back. `tokens`: drawn so far. Returns whether to go on.
  std::function<bool(std::string_view part, std::int64_t tokens)> text = {};
  // Asked before every token and while the prompt is computed; true ends the reply.
  std::function<bool()> cancelled = {};
};

struct Reply {
  std::vector<std::int32_t> ids = {};  // drawn, without the one that ended the reply
  std::string text = {};  // as it continues the prompt, often with a space first; without trailing white space
  StopReason stop = StopReason::kLength;
};

// Continues `prompt` (ids without BOS). Ends at the latest when the context is full; a prompt, with BOS, that leaves no
// room for a token is E0409. `vocab` of the model may exceed that of the tokenizer: the rest is never drawn.
Reply generate(LanguageModel& model, const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const GenerateEvents& events = {});

}  // namespace shori
