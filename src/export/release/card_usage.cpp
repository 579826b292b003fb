// The sections of the card that say how to write prompts.
#include "shori/data/blockml.h"
#include "shori/util/text.h"
#include "src/export/release/model_card.h"
#include "src/export/sillytavern/presets.h"

namespace shori {
namespace {

constexpr std::string_view kProse = R"(
## Prose format
The model writes novel-style prose.

| what | written as |
|---|---|
| dialogue | `"…"` in ASCII quotes |
| thoughts | `_…_` |
| onomatopoeia | `*…*` |
| emphasis | `**…**` |
| quotes that are not dialogue | `''…''` |
| louder text | ALL CAPS |
| text quoted from others | lines that begin with `> ` |
| formatted output | between lines of triple backticks |
)";

std::string_view meaning_of(Role role) {
  switch (role) {
    case Role::kTitle:
      return "title of the roleplay; steers the conversation";
    case Role::kTags:
      return "comma-separated tags that hint at the contents";
    case Role::kLore:
      return "background, world, or what happened before";
    case Role::kScenario:
      return "events that are still to happen";
    case Role::kDescription:
      return "one character";
    case Role::kMessage:
      return "one message of a character or of the narrator, whoever writes it; the only role that is needed";
    case Role::kOoc:
      return "talk out of character";
    case Role::kInst:
      return "an instruction, `[INST] … [/INST]`, between two blocks";
  }
  return "";
}

std::string roles() {
  std::string text = "\n## Roles\n\n| role | holds |\n|---|---|\n";
  for (std::size_t i = 0; i < kBlockRoles.size(); ++i)
    text += concat("| `", kBlockRoles[i], "` | ", meaning_of(static_cast<Role>(i)), " |\n");
  return text;
}

std::string lengths(const LengthBounds& bounds) {
  std::string text = concat("\n## Message length hints\nThe head of a message may say how long it is: `",
                            trim(block_head(Role::kMessage, LengthHint::kMedium)),
                            "`. Use medium where nothing speaks for another one.\n\n| hint | up to |\n|---|---|\n");
  for (std::size_t i = 0; i < kLengthWords.size(); ++i)
    text += concat("| ", kLengthWords[i], " | ", i < bounds.size() ? concat(bounds[i]) : "no limit", " |\n");
  return text;
}

Segment segment(Role role, std::string body) {
  Segment result;
  result.role = role;
  result.body = std::move(body);
  return result;
}

std::string example() {
  const std::vector<Segment> segments = {segment(Role::kTitle, "Title of the story"),
                                         segment(Role::kTags, "first tag, second tag"),
                                         segment(Role::kLore, "What was before."),
                                         segment(Role::kDescription, "Reimu\nWho Reimu is."),
                                         segment(Role::kDescription, "Marisa\nWho Marisa is."),
                                         segment(Role::kScenario, "What will happen."),
                                         segment(Role::kMessage, "Marisa: \"Are you there?\"")};
  return concat("\n## Example prompt template\n```\n", render(segments),
                block_head(Role::kMessage, LengthHint::kMedium),
                "Reimu:\n```\nThe prompt ends with the colon: no space, no newline.\n");
}

std::string mixing() {
  const Segment note = segment(Role::kInst, "Marisa is bored.");
  return concat(
      "\n## Mixing with Mistral-Instruct\nInstructions of the base model may stand between two blocks:\n```\n",
      render_segment(segment(Role::kMessage, "Reimu: \"Hmm...\"")), render_segment(note),
      block_head(Role::kMessage, LengthHint::kMedium), "Marisa:\n```\n\n## Reverse jailbreak\n",
      "This instruction before the first message makes the model tamer; leave it out if you like.\n```\n",
      render_segment(segment(Role::kInst, std::string(kReverseJailbreak))), "```\n");
}

}  // namespace

std::string usage_sections(const LengthBounds& bounds) {
  return concat(R"(
## Suggested starting text generation settings

| | settings | backends |
|---|---|---|
| main | temperature 1.0, min-p 0.05 to 0.10, presence penalty 0.35 to 0.45 | all |
| alternative 1 | temperature 2.40 to 2.50 as the last sampler, min-p 0.40, frequency penalty 0.10 to 0.15 | not KoboldCpp |
| alternative 2 | Mirostat 2, tau 2.80 to 3.00, eta 0.0175 to 0.0200, all else neutral | llama.cpp, KoboldCpp, text-generation-webui |

Penalties need a window: in SillyTavern, a repetition penalty range of 2048, not 0.
)",
                kProse,
                concat("\n## Prompting format\nA conversation is a text of blocks (BlockML). `▀` and the role open a "
                       "block, `▄` closes it; a newline follows each.\nThe answer ends with `▄`: make it a stop "
                       "string.\n\n## Block characters\n`",
                       kBlockOpen, "` is U+2580, `", kBlockClose,
                       "` is U+2584. Both are single tokens of the Mistral tokenizer.\n"),
                roles(), lengths(bounds), example(), mixing());
}

}  // namespace shori
