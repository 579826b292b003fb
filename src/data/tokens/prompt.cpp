#include "shori/data/prompt.h"

#include <algorithm>

#include "shori/data/split.h"

namespace shori {
namespace {

// The message to be written ends the last unit.
struct Unit {
  std::size_t begin = 0;          // segments between the header and the unit
  std::int64_t opening = 0;       // tokens before its message
  std::int64_t with_message = 0;  // tokens
};
std::vector<Unit> units_of(const Tokenizer& tokenizer, std::span<const Segment> segments, std::size_t header_end) {
  std::vector<Segment> whole(segments.begin(), segments.end());
  whole.push_back({.role = Role::kMessage, .body = "x"});
  const auto tokens = [&](std::size_t begin, std::size_t end) {
    return begin == end ? 0 : std::ssize(tokenizer.encode(render(std::span(whole).subspan(begin, end - begin))));
  };
  std::vector<Unit> units;
  for (const auto& [begin, end] : find_units(whole, header_end)) {
    std::size_t message = begin;
    while (whole[message].role != Role::kMessage) ++message;
    const std::int64_t opening = tokens(begin, message);
    units.push_back({begin - header_end, opening, opening + tokens(message, end)});
  }
  return units;
}

// The first unit of a chat that does not fit. It is found by going through the chat as it grew: where the prompt of a
// message was too long, units are left out until the rest takes three quarters of the room. So many prompts begin with the
// same unit, and what a cache holds of one serves the next.
std::size_t first_unit(std::span<const Unit> units, std::int64_t room) {
  constexpr std::int64_t kEnd = 16;  // BOS, the head of the message and a name
  std::size_t first = 0;
  std::int64_t kept = 0;
  for (std::size_t i = 0; i < units.size(); ++i) {
    const std::int64_t end = units[i].opening + kEnd;
    if (kept + end > room) {
      while (first < i && kept + end > room / 4 * 3) kept -= units[first++].with_message;
    }
    kept += units[i].with_message;
  }
  return first;
}

FittedPrompt without(std::span<const Segment> segments, std::size_t header_end, std::size_t dropped,
                     const PromptEnd& end, const Tokenizer& tokenizer) {
  std::vector<Segment> kept(segments.begin(), segments.begin() + static_cast<std::ptrdiff_t>(header_end));
  kept.insert(kept.end(), segments.begin() + static_cast<std::ptrdiff_t>(header_end + dropped), segments.end());
  FittedPrompt prompt{render_prompt(kept, end), {}, dropped};
  prompt.ids = tokenizer.encode(prompt.text);
  return prompt;
}

}  // namespace

std::string render_prompt(std::span<const Segment> segments, const PromptEnd& end) {
  return render(segments) + block_head(Role::kMessage, end.hint) + end.opening;
}

FittedPrompt fit_prompt(const Tokenizer& tokenizer, std::span<const Segment> segments, const PromptEnd& end,
                        std::int64_t room) {
  const std::size_t header_end = find_header_end(segments);
  const auto fits = [&](const FittedPrompt& prompt) { return std::ssize(prompt.ids) + 1 <= room; };
  FittedPrompt best = without(segments, header_end, 0, end, tokenizer);
  if (fits(best)) return best;
  const std::vector<Unit> units = units_of(tokenizer, segments, header_end);
  const std::int64_t header = std::ssize(tokenizer.encode(render(segments.first(header_end))));
  std::size_t first = std::min(std::max<std::size_t>(first_unit(units, room - header), 1), units.size() - 1);
  do {
    best = without(segments, header_end, units[first++].begin, end, tokenizer);
  } while (!fits(best) && first < units.size());  // the end may be longer than was assumed
  return best;
}

}  // namespace shori
