// A conversation as the prompt of its next message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/tokenizer.h"

namespace shori {

// The message that the model is to write: its length, and what it begins with: "Reimu:" without a space after it, a part
// of a message that it goes on with, or nothing.
struct PromptEnd {
  LengthHint hint = LengthHint::kMedium;
  std::string opening = {};
};

// The canonical text of `segments` and of the head and opening of the message.
std::string render_prompt(std::span<const Segment> segments, const PromptEnd& end);

struct FittedPrompt {
  std::string text;
  std::vector<std::int32_t> ids;     // without BOS
  std::size_t dropped_segments = 0;  // after the header
};

// render_prompt() and its ids. If these and BOS are more than `room`, whole units (split.h) are left out from the oldest
// on, but never the header, nor what follows the last message: that may still be too long. About a quarter of the room is
// freed at once, so that the prompts of the next messages leave out the same units.
FittedPrompt fit_prompt(const Tokenizer& tokenizer, std::span<const Segment> segments, const PromptEnd& end,
                        std::int64_t room);

}  // namespace shori
