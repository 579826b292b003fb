// shori-chat: talks to a checkpoint, an adapter or a model.
#include <algorithm>
#include <csignal>
#include <optional>
#include <random>
#include <span>

#include "shori/chat/chat_model.h"
#include "shori/chat/chat_settings.h"
#include "shori/chat/run_chat.h"
#include "shori/chat/run_script.h"
#include "shori/chat/serve.h"
#include "shori/config/load_config.h"
#include "shori/infer/sampler_presets.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/path_option.h"
#include "src/cli/program.h"

namespace shori {
namespace {

constexpr auto kDevices = std::span(kWords<DeviceChoice>).first<3>();  // without `emulated`, which is for tests

struct Arguments {
  ChatModelOptions model;
  ChatOptions chat;
  ScriptOptions script;
  ServeOptions serve;
  SamplerPreset preset = SamplerPreset::kMain;
  std::vector<std::pair<const SettingFlag*, std::string>> settings;  // as given
  std::optional<std::int64_t> max_tokens;
  std::optional<std::uint64_t> seed;
  std::string scenario, prompt_file;
};

void add_model_options(CLI::App& app, ChatModelOptions& model) {
  as_path(
      app.add_option("RUN", model.source.run,
                     "a run folder, its adapter/, a PEFT adapter folder, or one checkpoint file; or the folder of a "
                     "whole model"))
      ->required();
  as_path(
      app.add_option("--base", model.base,
                     "the base model used in training: its folder, or `org/name` in the Hugging Face cache (default: "
                     "the one that the run records)"));
  auto* step = app.add_option("--step", model.source.step, "the checkpoint of this step");
  app.add_flag("--best", model.source.best, "the checkpoint with the lowest evaluation loss")->excludes(step);
  add_choice<BaseType>(app, "--base-type", model.base_type, "how the base is held in memory (default nf4)");
  app.add_option("--context", model.context,
                 "tokens of prompt and reply together (default 8192, if the model has them)")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", model.threads, "CPU threads (default: all cores)")->check(CLI::Range(1, 1024));
  add_word_option(app, "--device", kDevices, "what computes (default auto: the CPU)",
                  [&model](std::size_t index) { model.device = static_cast<DeviceChoice>(index); });
}

// CLI11's own message would only say that it could not convert the text.
std::string whole_number(const std::string& text) {
  return parse_number<std::uint64_t>(text)
             ? ""
             : concat("`", escape_for_log(text), "` is not a whole number from 0 to 18446744073709551615");
}

void add_reply_options(CLI::App& app, Arguments& arguments) {
  add_choice<SamplerPreset>(app, "--preset", arguments.preset, "sampler settings of the model card (default main)");
  for (const SettingFlag& flag : setting_flags()) {
    const std::string dashed = concat("--", flag.name), underscored = concat("--", flag.preset_name());
    app.add_option_function<std::string>(
           dashed == underscored ? dashed : concat(dashed, ",", underscored),
           [&arguments, &flag](const std::string& text) { arguments.settings.emplace_back(&flag, text); },
           std::string(flag.meaning))
        ->type_name("VALUE");
  }
  app.add_option("--max-tokens", arguments.max_tokens, "longest reply (default 1024, at most half of the context)")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", arguments.seed, "the same seed gives the same replies (default: another one each time)")
      ->check(whole_number, "UINT");
}

void add_chat_options(CLI::App& app, ChatOptions& chat, std::string& scenario) {
  as_path(app.add_option("SCENARIO", scenario, "a BlockML file that the chat begins with, with or without messages"));
  app.add_option("--as", chat.as, "the character that the model plays (default: the first of the scenario)")
      ->type_name("NAME");
  app.add_option("--me", chat.me, "the character that you play (default: the next one)")->type_name("NAME");
  add_word_option(app, "--length", kHintWords, "length of the replies (default medium)",
                  [&chat](std::size_t index) { chat.hint = static_cast<LengthHint>(index); });
}

void add_script_options(CLI::App& app, ScriptOptions& script, std::string& prompt_file) {
  auto* file = as_path(
      app.add_option("--prompt-file", prompt_file, "no chat: reply to the text of this file (`-`: of stdin) and end"));
  for (const char* of_chat : {"SCENARIO", "--as", "--me", "--length"}) file->excludes(app.get_option(of_chat));
  app.add_option("--n", script.count, "with --prompt-file: number of replies")
      ->needs(file)
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--json", script.json, "with --prompt-file: one JSON object a line: text, stop, rates")->needs(file);
  app.add_flag("!--no-stop", script.stop_at_blocks, "with --prompt-file: go on after the end of a block")->needs(file);
}

void add_serve_options(CLI::App& app, ServeOptions& serve) {
  auto* address = app.add_option("--serve", serve.address,
                                 "no chat: answer the HTTP requests of SillyTavern and other clients of llama.cpp or "
                                 "OpenAI, on this machine alone unless a host is named")
                      ->type_name("[HOST:]PORT");
  for (const char* other : {"SCENARIO", "--as", "--me", "--length", "--prompt-file"})
    address->excludes(app.get_option(other));
  as_path(
      app.add_option("--api-key-file", serve.api_key_file, "with --serve: the keys that clients may use, one a line"))
      ->needs(address);
  // Clients send these with each request.
  for (const SettingFlag& flag : setting_flags()) address->excludes(concat("--", flag.name));
  for (const char* name : {"--preset", "--max-tokens", "--seed"}) address->excludes(name);
  app.add_option("--queue", serve.most_waiting, "with --serve: most requests that wait for their turn (default 64)")
      ->needs(address)
      ->check(CLI::Range(1, 1024));
}

ReplySettings reply_settings(const Arguments& arguments) {
  ReplySettings reply{.sampler = preset_settings(arguments.preset)};
  for (const auto& [flag, text] : arguments.settings) flag->set(reply.sampler, text, concat("--", flag->name));
  return reply;
}

// One that can be typed again.
std::uint64_t seed_of(const Arguments& arguments) {
  if (arguments.seed) return *arguments.seed;
  const std::uint64_t seed = std::random_device{}();
  log_info(concat("seed ", seed));
  return seed;
}

void run(Arguments& arguments) {
  ReplySettings reply = reply_settings(arguments);
  check_chat_options(arguments.chat);
  if (!arguments.prompt_file.empty()) arguments.script.prompt = read_prompt_file(arguments.prompt_file);
  if (!arguments.scenario.empty()) arguments.chat.scenario = read_conversation(arguments.scenario);
  if (!arguments.model.base.empty()) arguments.model.base = find_base_folder("--base", arguments.model.base);
  const bool serves = !arguments.serve.address.empty();
  if (serves) check_serve_options(arguments.serve);
  ChatModel model = ChatModel::open(arguments.model);
  if (serves) return serve(model.language_model(), model.tokenizer(), model.name(), arguments.serve);
  reply.max_tokens =
      arguments.max_tokens.value_or(std::min(reply.max_tokens, model.language_model().context_length() / 2));
  const std::uint64_t seed = seed_of(arguments);
  arguments.script.reply = arguments.chat.reply = reply;
  arguments.script.seed = arguments.chat.seed = seed;
  if (!arguments.prompt_file.empty())
    run_script(model.language_model(), model.tokenizer(), arguments.script);
  else
    run_chat(model.language_model(), model.tokenizer(), arguments.chat);
}

// Whoever closes the terminal of a chat sees by the exit code that this ended it, not Ctrl-C.
void run_to_its_end(Arguments& arguments) {
  try {
    run(arguments);
  } catch (const Stopped&) {
    if (stop_signal() != SIGHUP) throw;
    log_info("stopped: the terminal was closed");
    throw CLI::RuntimeError(128 + SIGHUP);
  }
}

}  // namespace
}  // namespace shori

int main(int argc, char** argv) {
  using namespace shori;
  CLI::App app{"shori-chat: talks to a checkpoint, an adapter or a model"};
  add_program_options(app, "shori-chat");
  Arguments arguments;
  add_model_options(app, arguments.model);
  add_chat_options(app, arguments.chat, arguments.scenario);
  add_reply_options(app, arguments);
  add_script_options(app, arguments.script, arguments.prompt_file);
  add_serve_options(app, arguments.serve);
  app.footer("Example:  shori-chat runs/shori/top-pg13 --preset main");
  app.callback([&arguments] { run_to_its_end(arguments); });
  return run_program(app, argc, argv);
}
