#include "src/train/plan/sample_prompts.h"

#include <algorithm>

#include "shori/data/blockml.h"
#include "shori/data/plain_text.h"
#include "shori/data/token_text.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {
namespace {

SamplePrompt make_prompt(const PreparedStage& stage, std::string name, std::string text) {
  std::vector<std::int32_t> ids = stage.base->tokenizer->encode(text);
  return {std::move(name), std::move(text), std::move(ids)};
}

// BOS, the prompt, and one token of the reply.
bool fits(const PreparedStage& stage, const SamplePrompt& prompt) {
  return std::ssize(prompt.ids) + 2 <= stage.config.sequence_len;
}

// The file's name without its last extension, made different from the names before it.
std::string name_of_file(const std::string& path, const std::vector<SamplePrompt>& before) {
  const std::string file = file_name(path);
  const std::size_t dot = file.rfind('.');
  const std::string stem = dot == std::string::npos || dot == 0 ? file : file.substr(0, dot);
  const auto taken = [&](const std::string& name) {
    return std::ranges::find(before, name, &SamplePrompt::name) != before.end();
  };
  std::string name = stem;
  for (int number = 2; taken(name); ++number) name = concat(stem, "-", number);
  return name;
}

SamplePrompt read_prompt(const PreparedStage& stage, const std::string& path, const std::vector<SamplePrompt>& before) {
  const std::string bytes = read_whole_file(InputFile::open(path), kConversationBytes, "E0317");
  SamplePrompt prompt = make_prompt(stage, name_of_file(path, before), plain_text(bytes, path));
  if (fits(stage, prompt)) return prompt;
  throw Error(Diagnostic("E0409", concat("the prompt has ", prompt.ids.size() + 1,
                                         " tokens with BOS, which leaves no room for a reply"))
                  .at(path)
                  .note(concat("`sequence_len` ", stage.config.sequence_len))
                  .help("shorten the prompt, or set a larger `sequence_len`"));
}

// `text` up to the speaker of the message whose head begins at `head`.
std::string cut_at_message(const std::string& text, std::size_t head) {
  const std::size_t body = text.find('\n', head) + 1;
  const auto speaker = find_speaker(std::string_view(text).substr(body));
  return text.substr(0, body) + (speaker ? concat(speaker->name, ":") : std::string());
}

// The last message with room for a whole reply after its head; else the last one that fits.
std::optional<SamplePrompt> prompt_of_conversation(const PreparedStage& stage, const Sample& sample) {
  const std::string text = decode_ids(*stage.base->tokenizer, sample.ids, true);
  std::optional<SamplePrompt> shortest;
  for (std::size_t head = text.rfind("▀message"); head != std::string::npos; head = text.rfind("▀message", head - 1)) {
    if (text.find('\n', head) != std::string::npos) {
      SamplePrompt prompt = make_prompt(stage, "held-out", cut_at_message(text, head));
      const std::int64_t left = stage.config.sequence_len - 1 - std::ssize(prompt.ids);
      const bool fitting = fits(stage, prompt);
      if (fitting) shortest = std::move(prompt);
      if (left >= stage.config.sample_max_tokens) return shortest;
    }
    if (head == 0) break;
  }
  return shortest;
}

std::optional<SamplePrompt> held_out_prompt(const PreparedStage& stage) {
  for (const HeldOutSet& set : stage.data.held_out) {
    for (const Sample& sample : set.samples) {
      if (auto prompt = prompt_of_conversation(stage, sample)) return prompt;
    }
  }
  return std::nullopt;
}

}  // namespace

bool has_samples(const TrainConfig& config) {
  return !config.sample_prompts.empty() || config.sample_steps.has_value();
}

std::vector<SamplePrompt> read_sample_prompts(const PreparedStage& stage, Diagnostics& diagnostics) {
  std::vector<SamplePrompt> prompts;
  if (!has_samples(stage.config)) return prompts;
  for (const std::string& path : stage.config.sample_prompts) {
    try {
      prompts.push_back(read_prompt(stage, path, prompts));
    } catch (const Error& error) {
      diagnostics.add(error);
    }
  }
  if (!stage.config.sample_prompts.empty()) return prompts;
  if (auto prompt = held_out_prompt(stage)) {
    prompts.push_back(std::move(*prompt));
  } else {
    diagnostics.add(Diagnostic("E0107", "`sample_steps` has no prompt: no held-out conversation has a message")
                        .at(stage.origin("sample_steps").location)
                        .help("`sample_prompts: [prompt.txt]` names files to continue, or `val_set_size: 1` holds a "
                              "conversation out"));
  }
  return prompts;
}

std::int64_t sample_context(const PreparedStage& stage) {
  std::int64_t longest = 0;
  for (const SamplePrompt& prompt : stage.sample_prompts) longest = std::max(longest, std::ssize(prompt.ids) + 1);
  return longest == 0 ? 0 : std::min(longest + stage.config.sample_max_tokens, stage.config.sequence_len);
}

}  // namespace shori
