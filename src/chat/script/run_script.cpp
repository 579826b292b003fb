#include "shori/chat/run_script.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "shori/data/blockml.h"
#include "shori/data/plain_text.h"
#include "shori/infer/generate.h"
#include "shori/infer/rates.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/chat/output.h"

namespace shori {
namespace {

std::string read_stdin() {
  std::string text;
  char chunk[1 << 16];
  while (const std::size_t size = std::fread(chunk, 1, sizeof chunk, stdin)) {
    text.append(chunk, size);
    if (text.size() > kConversationBytes) throw Error(Diagnostic("E0317", "the prompt is larger than 64 MiB"));
  }
  return text;
}

}  // namespace

std::string read_prompt_file(const std::string& file) {
  if (file != "-" && !leads_to_something(file))
    throw Error(Diagnostic("E0108", quoted_path(file) + " does not exist").help("--prompt-file - reads from stdin"));
  std::error_code unknown;
  if (std::filesystem::is_fifo(file, unknown))
    throw Error(Diagnostic("E0212", quoted_path(file) + " is a FIFO, not a regular file")
                    .help("--prompt-file - reads from stdin: `PROGRAM | shori-chat ... --prompt-file -`"));
  const std::string shown = file == "-" ? "stdin" : file;
  std::string text = plain_text(
      file == "-" ? read_stdin() : read_whole_file(InputFile::open(file), kConversationBytes, "E0317"), shown);
  if (trim(text).empty())
    log_warning(Diagnostic("W0101", "the prompt is empty: nothing says what the reply is to").at(shown));
  return text;
}

namespace {

Json json_of(const Reply& reply, const ReplyRates& rates, const ScriptOptions& options, int number,
             std::size_t prompt_tokens) {
  return {{"text", reply.text},
          {"tokens", reply.ids.size()},
          {"prompt_tokens", prompt_tokens},
          {"stop", std::string(word_of(reply.stop))},
          {"seed", options.seed},
          {"reply", number},
          {"hint", text_or_null(length_name(rates.hint))},
          {"bucket", text_or_null(length_name(rates.bucket))},
          {"impersonated", rates.impersonated},
          {"repetition", rates.repetition}};
}

}  // namespace

void run_script(LanguageModel& model, const Tokenizer& tokenizer, const ScriptOptions& options) {
  const std::string& prompt = options.prompt;
  const std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  const auto show = [&](std::string_view text, std::int64_t) {
    if (!options.json) print(text);
    return true;
  };
  for (int number = 0; number < options.count; ++number) {
    const Reply reply = generate(model, tokenizer, ids,
                                 {.sampler = options.reply.sampler,
                                  .seed = options.seed,
                                  .reply = static_cast<std::uint32_t>(number),
                                  .max_tokens = options.reply.max_tokens,
                                  .stop_at_blocks = options.stop_at_blocks},
                                 {.text = show, .cancelled = stop_requested});
    throw_if_stop_requested();
    const ReplyRates rates = rate_reply(tokenizer, prompt, ids, reply);
    print(options.json ? json_text(json_of(reply, rates, options, number, ids.size() + 1)) + "\n" : "\n");
  }
}

}  // namespace shori
