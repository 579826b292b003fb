#include "shori/chat/run_chat.h"

#include <sys/stat.h>

#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "src/chat/terminal/chat_session.h"

namespace shori {
namespace {

constexpr const char* kUnsavedName = "unsaved-chat.blockml";

// Empty without a home.
std::string state_folder() {
  const std::string state = path_variable("XDG_STATE_HOME");
  const std::string home = path_variable("HOME");
  if (!state.empty()) return join_path(state, "shori-train");
  return home.empty() ? "" : join_path(home, ".local/state/shori-train");
}

// What was said on a terminal is kept, however the chat ends.
void keep_unsaved(const ChatSession& session) {
  const std::string folder = state_folder();
  if (!session.has_unsaved_messages() || folder.empty()) return;
  const mode_t old = umask(0077);  // for the eyes of this user
  try {
    make_directories(folder);
    write_file_atomically(folder, kUnsavedName, render(session.conversation().segments()));
    log_info("the chat was not saved; until the next one it is kept in " +
             quoted_path(join_path(folder, kUnsavedName)));
  } catch (const Error& error) {
    log_info(concat("the chat could not be kept: ", error.what()));
  }
  umask(old);
}

}  // namespace

void run_chat(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options) {
  Interrupts interrupts;
  const std::string folder = state_folder();
  const auto lines = make_line_reader(interrupts, folder.empty() ? "" : join_path(folder, "chat-history"));
  ChatSession session(model, tokenizer, options, interrupts, *lines);
  try {
    session.run();
  } catch (...) {
    if (lines->is_terminal()) keep_unsaved(session);
    throw;
  }
  if (lines->is_terminal()) keep_unsaved(session);
}

}  // namespace shori
