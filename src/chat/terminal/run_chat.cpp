#include "shori/chat/run_chat.h"

#include <utility>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"
#include "src/chat/terminal/chat_session.h"
#include "src/chat/terminal/message_text.h"
#include "src/chat/terminal/unsaved_copy.h"

namespace shori {
namespace {

// Empty without a home.
std::string state_folder() {
  const std::string state = path_variable("XDG_STATE_HOME");
  const std::string home = path_variable("HOME");
  if (!state.empty()) return join_path(state, "shori-train");
  return home.empty() ? "" : join_path(home, ".local/state/shori-train");
}

}  // namespace

void check_chat_options(const ChatOptions& options) {
  const auto refuse = [](const std::string& message, const std::string& help) {
    throw Error(Diagnostic("E0116", message).help(help));
  };
  for (const auto& [option, name] : {std::pair("--as", &options.as), std::pair("--me", &options.me)})
    if (!name->empty() && !is_character_name(*name))
      refuse(concat("`", option, " ", escape_for_log(*name), "`: cannot be the name of a character"),
             concat(option, " Marisa"));
  if (!options.as.empty() && options.as == options.me)
    refuse(concat("the model and you cannot both be ", escape_for_log(options.as)), "another name for `--me`");
}

void run_chat(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options) {
  Interrupts interrupts;
  const std::string folder = state_folder();
  const auto lines = make_line_reader(interrupts, folder.empty() ? "" : join_path(folder, "chat-history"));
  UnsavedCopy copy(folder);
  // What was said on a terminal is kept, however the chat ends.
  ChatSession session(model, tokenizer, options, interrupts, *lines, lines->is_terminal() ? &copy : nullptr);
  try {
    session.run();
  } catch (...) {
    session.keep_at_end();
    throw;
  }
  session.keep_at_end();
}

}  // namespace shori
