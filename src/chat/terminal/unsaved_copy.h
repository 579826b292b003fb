// The copy on disk of a chat that is not saved, so that nothing that ends the program loses what was said.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// A file of its own for each chat: unsaved-chat-TIME-PID.blockml, readable by this user alone. The file is there while the
// chat has something to lose.
class UnsavedCopy {
 public:
  // Without a `folder` nothing can be kept.
  explicit UnsavedCopy(std::string folder);

  const std::string& path() const { return path_; }
  // Makes the file hold `text`, and removes it when there is none. Why that failed; empty if it did not.
  std::string update(const std::string& text);
  // Makes a file that another chat left the copy of this chat. False if `path` is no such file.
  bool take_over(const std::string& path);
  // Logs what other chats left, and how to go on with it.
  void report_left() const;

 private:
  std::vector<std::string> left() const;

  std::string folder_, path_, written_;
};

}  // namespace shori
