#include "src/chat/terminal/unsaved_copy.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <fstream>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/chat/terminal/private_files.h"

namespace shori {
namespace {

constexpr std::string_view kPrefix = "unsaved-chat", kSuffix = ".blockml";

std::string new_name() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char time[32];
  std::strftime(time, sizeof time, "%Y%m%d-%H%M%S", &utc);
  return concat(kPrefix, "-", time, "-", getpid(), kSuffix);
}

// Whether the chat that writes the file goes on. Its number may be that of another program by now.
bool is_in_use(const std::string& name) {
  const std::size_t dash = name.rfind('-'), end = name.size() - kSuffix.size();
  std::ifstream comm(concat("/proc/", name.substr(dash + 1, end - dash - 1), "/comm"));
  std::string program;
  return std::getline(comm, program) && program == "shori-chat";
}

bool is_copy(const std::string& name) {
  return name.starts_with(kPrefix) && name.ends_with(kSuffix) && name.size() >= kPrefix.size() + kSuffix.size();
}

}  // namespace

UnsavedCopy::UnsavedCopy(std::string folder) : folder_(std::move(folder)) {
  if (!folder_.empty()) path_ = join_path(absolute_path(folder_), new_name());
}

std::string UnsavedCopy::update(const std::string& text) {
  if (text == written_) return "";
  if (folder_.empty()) return text.empty() ? "" : "neither HOME nor XDG_STATE_HOME is set";
  if (text.empty()) {
    if (unlink(path_.c_str()) != 0 && errno != ENOENT) return concat(quoted_path(path_), ": ", error_text(errno));
    written_.clear();
    return "";
  }
  const PrivateFiles guard;
  try {
    make_directories(folder_);
    write_file_atomically(folder_, file_name(path_), text);
  } catch (const Error& error) {
    return error.diagnostics().front().message;
  }
  written_ = text;
  return "";
}

bool UnsavedCopy::take_over(const std::string& path) {
  const std::string other = absolute_path(path), name = file_name(other);
  if (folder_.empty() || parent_path(other) != parent_path(path_) || !is_copy(name)) return false;
  if (other == path_) return true;
  if (is_in_use(name) || std::rename(other.c_str(), path_.c_str()) != 0) return false;
  written_ = "\n";  // what no chat is: the file is written and removed as one of this chat from now on
  return true;
}

// The newest last.
std::vector<std::string> UnsavedCopy::left() const {
  std::vector<std::string> names;
  if (!folder_.empty() && is_directory(folder_)) names = list_directory(folder_);
  std::erase_if(
      names, [this](const std::string& name) { return !is_copy(name) || name == file_name(path_) || is_in_use(name); });
  // Older versions kept one chat, under a name without a time.
  std::ranges::stable_partition(names, [](const std::string& name) { return name == concat(kPrefix, kSuffix); });
  return names;
}

void UnsavedCopy::report_left() const {
  std::vector<std::string> names;
  try {
    names = left();
  } catch (const Error&) {
    return;  // what cannot be read cannot be written either, which is reported then
  }
  if (names.empty()) return;
  const std::string others =
      names.size() == 1 ? "" : concat(" (and ", names.size() - 1, " older in ", quoted_path(folder_), ")");
  log_info(concat("a chat that was not saved is kept", others, ": ",
                  quoted_path(concat("/load ", join_path(parent_path(path_), names.back()))), " goes on with it"));
}

}  // namespace shori
