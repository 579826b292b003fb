#include "shori/data/prompt.h"

#include "shori/data/split.h"

namespace shori {
namespace {

// How many segments after the header are left out together with the first 0, 1, 2... units. The message to be written
// ends the last unit.
std::vector<std::size_t> droppable_counts(std::span<const Segment> segments, std::size_t header_end) {
  std::vector<Segment> whole(segments.begin(), segments.end());
  whole.push_back({.role = Role::kMessage, .body = "x"});
  std::vector<std::size_t> counts;
  for (const SegmentRange& unit : find_units(whole, header_end)) counts.push_back(unit.begin - header_end);
  return counts;
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
  // The fewest that make it fit, or all of them.
  const std::vector<std::size_t> counts = droppable_counts(segments, header_end);
  std::size_t low = 1, high = counts.size() - 1;
  best = without(segments, header_end, counts.back(), end, tokenizer);
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    FittedPrompt prompt = without(segments, header_end, counts[middle], end, tokenizer);
    if (!fits(prompt)) {
      low = middle + 1;
      continue;
    }
    high = middle;
    best = std::move(prompt);
  }
  return best;
}

}  // namespace shori
