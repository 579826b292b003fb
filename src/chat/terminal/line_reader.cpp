#include "src/chat/terminal/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/chat/output.h"
#include "src/chat/terminal/byte_input.h"
#include "src/chat/terminal/paste_filter.h"
#include "src/chat/terminal/private_files.h"

namespace shori {
namespace {

constexpr int kHistoryLines = 1000;

// On Linux a wchar_t is a code point.
std::wstring wide(std::string_view text) {
  std::wstring characters;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    characters += static_cast<wchar_t>(point.value);
    at += point.bytes;
  }
  return characters;
}

std::string narrow(std::wstring_view characters) {
  std::string text;
  for (const wchar_t character : characters) append_utf8(text, static_cast<std::uint32_t>(character));
  return text;
}

class PlainReader : public LineReader {
 public:
  explicit PlainReader(Interrupts& interrupts) : input_(interrupts) {}

  bool is_terminal() const override { return false; }

  Line read(const std::string&, const std::string&) override {
    Line line;
    std::uint32_t character = 0;
    while (true) {
      const ByteInput::Event event = input_.read(character);
      if (event == ByteInput::Event::kInterrupt)
        return {Line::Kind::kInterrupt, "", line.text.empty(), !line.text.empty()};
      if (event == ByteInput::Event::kEnd && line.text.empty()) return line;
      if (event == ByteInput::Event::kEnd || character == '\n') break;
      append_utf8(line.text, character);
    }
    line.kind = Line::Kind::kText;
    if (line.text.ends_with('\r')) line.text.pop_back();
    return line;
  }

 private:
  ByteInput input_;
};

// libedit shows characters by the locale, which is often none in containers.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

// While a line is edited the terminal marks pasted text, so that its line ends do not send it in parts. Programs that have
// the terminal before and after do not expect the marks.
class PasteMarks {
 public:
  PasteMarks() { show("\x1b[?2004h"); }
  ~PasteMarks() { show("\x1b[?2004l"); }
  PasteMarks(const PasteMarks&) = delete;
  PasteMarks& operator=(const PasteMarks&) = delete;

  // After another program had the terminal.
  static void show_again() { show("\x1b[?2004h"); }

 private:
  // A terminal that is gone is noticed by whoever reads from it.
  static void show(const char* sequence) {
    const char* terminal = std::getenv("TERM");
    if (terminal == nullptr || std::strcmp(terminal, "dumb") == 0) return;
    std::fputs(sequence, stdout);
    std::fflush(stdout);
  }
};

class EditReader : public LineReader {
 public:
  EditReader(Interrupts& interrupts, const std::string& history_file)
      : input_(interrupts, [this] { adapt_to_terminal(); }), history_file_(history_file) {
    use_utf8_locale();
    edit_ = el_init("shori-chat", stdin, stdout, stderr);
    history_ = history_winit();
    el_wset(edit_, EL_CLIENTDATA, this);
    el_wset(edit_, EL_EDITOR, L"emacs");
    el_wset(edit_, EL_SIGNAL, 0);
    el_wset(edit_, EL_PROMPT, +[](EditLine* edit) { return of(edit)->prompt_.data(); });
    // Its own reader takes an interrupted call for the end of the input.
    el_wset(edit_, EL_GETCFN, +[](EditLine* edit, wchar_t* character) { return of(edit)->next(*character); });
    el_wset(edit_, EL_BIND, L"^R", L"em-inc-search-prev", nullptr);
    open_history();
  }
  ~EditReader() override {
    close_history();
    history_wend(history_);
    el_end(edit_);
  }

  bool is_terminal() const override { return true; }

  Line read(const std::string& prompt, const std::string& initial) override {
    prompt_ = wide(harmless(prompt));
    ended_by_ = ByteInput::Event::kCharacter;
    typed_ = false;
    initial_ = wide(initial);
    if (!initial_.empty()) el_wpush(edit_, initial_.c_str());
    // libedit would show the prompt first: what is typed at once would be edited by the system.
    el_wset(edit_, EL_PREP_TERM, 1);
    const PasteMarks marks;
    int count = 0;
    const wchar_t* characters = el_wgets(edit_, &count);
    if (ended_by_ == ByteInput::Event::kInterrupt) {
      print("\n");
      return {Line::Kind::kInterrupt, "", was_empty_, typed_};
    }
    if (characters == nullptr || count <= 0 || ended_by_ == ByteInput::Event::kEnd) {
      print("\n");
      return {};
    }
    return text_of({characters, static_cast<std::size_t>(count)});
  }

 private:
  static EditReader* of(EditLine* edit) {
    void* reader = nullptr;
    el_wget(edit, EL_CLIENTDATA, &reader);
    return static_cast<EditReader*>(reader);
  }

  int next(wchar_t& character) {
    while (paste_.empty()) {
      std::uint32_t value = 0;
      ended_by_ = input_.read(value);
      if (ended_by_ != ByteInput::Event::kCharacter) return end_line();
      typed_ = true;
      paste_.add(value);
    }
    character = static_cast<wchar_t>(paste_.take());
    return 1;
  }

  int end_line() {
    paste_.reset();
    const LineInfoW* line = el_wline(edit_);
    was_empty_ = line->lastchar == line->buffer;
    return ended_by_ == ByteInput::Event::kEnd ? 0 : -1;
  }

  Line text_of(std::wstring_view characters) {
    Line line{Line::Kind::kText, narrow(characters)};
    while (line.text.ends_with('\n') || line.text.ends_with('\r')) line.text.pop_back();
    if (!trim(line.text).empty()) {
      HistEventW event;
      const std::wstring entry = wide(line.text);
      history_w(history_, &event, H_ENTER, entry.c_str());
    }
    return line;
  }

  void adapt_to_terminal() {
    el_wset(edit_, EL_PREP_TERM, 1);
    PasteMarks::show_again();
    el_resize(edit_);
    el_wset(edit_, EL_REFRESH);
  }

  void open_history() {
    HistEventW event;
    history_w(history_, &event, H_SETSIZE, kHistoryLines);
    history_w(history_, &event, H_SETUNIQUE, 1);
    el_wset(edit_, EL_HIST, history_w, history_);
    if (history_file_.empty() || !path_exists(history_file_)) return;
    if (history_w(history_, &event, H_LOAD, history_file_.c_str()) < 0)
      log_info(concat("no history of lines: ", quoted_path(history_file_), " cannot be read"));
  }

  void close_history() {
    if (history_file_.empty()) return;
    HistEventW event;
    try {
      make_directories(parent_path(history_file_));
    } catch (const Error&) {
    }
    const PrivateFiles guard;
    if (history_w(history_, &event, H_SAVE, history_file_.c_str()) < 0)
      log_info(concat("the history of lines was not kept: ", quoted_path(history_file_), " cannot be written"));
  }

  ByteInput input_;
  PasteFilter paste_;
  std::string history_file_;
  EditLine* edit_ = nullptr;
  HistoryW* history_ = nullptr;
  std::wstring prompt_, initial_;
  ByteInput::Event ended_by_ = ByteInput::Event::kCharacter;
  bool was_empty_ = false, typed_ = false;
};

}  // namespace

std::unique_ptr<LineReader> make_line_reader(Interrupts& interrupts, const std::string& history_file) {
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) return std::make_unique<EditReader>(interrupts, history_file);
  return std::make_unique<PlainReader>(interrupts);
}

}  // namespace shori
