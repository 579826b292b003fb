// Logs of lines `Name: text`: which lines begin with a name, and whose names they are.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>

namespace shori {

// The first colon from `from` on: where the name before it ends, and where the text after it begins. East Asian texts have the
// wide colon, and no space.
struct FoundColon {
  std::size_t name_end = std::string_view::npos, text_begin = 0;
  bool wide = false;
};
FoundColon find_colon(std::string_view text, std::size_t from);

// The speaker that a line of a log begins with, and where its text begins: `Name: text`, `<nick> text`, also after a
// time and in bold. nullopt for any other line.
struct LogLine {
  std::string_view speaker;
  std::size_t text_begin;
  bool has_time = false;   // a time stands before the speaker
  bool in_angles = false;  // `<nick>`
};
std::optional<LogLine> read_log_line(std::string_view line);

void each_line(std::string_view text, const std::function<void(std::string_view line)>& use);

// Whose names the beginnings of lines are. `He said: no` has the form of a speaker and is prose, so a name needs evidence:
// it begins two lines, or all its words have capitals. In scripts without capitals once is enough where half of the lines
// begin with a name, and the name does not end in a verb of saying (`他说：不`). In
// angle brackets nobody but a speaker stands.
class LogSpeakers {
 public:
  explicit LogSpeakers(std::string_view text);  // which must outlive this

  // Of a name that read_log_line() found in the text.
  bool contains(std::string_view name) const;
  // How many lines begin with one of them.
  std::size_t lines() const;

 private:
  std::map<std::string_view, std::size_t> times_;  // lines of each name
  std::set<std::string_view> nicks_;               // in angle brackets
  bool mostly_names_ = false;                      // half of the lines begin with one, or more
};

}  // namespace shori
